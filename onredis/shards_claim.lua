-- shards_claim sees to it that a topic which is about to be made is made where it
-- belongs, whatever its maker knows of the set of instances.
--
-- KEYS     1 record of the set  2 schedules of the topic  3 its stream, then its other
--          keys but those of its subscriptions
-- ARGV     1 the generation of the set that the caller knows  2 where the topic is to
--          be made, empty for here  3 "make" to make it here if it isn't there
-- Returns  "stale" if there is a newer generation, "here" if it is to be used, or may
--          be made, here, or "there"

local record = redis.call('GET', KEYS[1])
local generation = record and cjson.decode(record).generation or 0
if generation > tonumber(ARGV[1]) then return 'stale' end
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'none' then return 'here' end -- be it a mark: who goes on finds it

local any = redis.call('TYPE', KEYS[2]).ok == 'hash'
for i = 4, #KEYS do any = any or redis.call('EXISTS', KEYS[i]) == 1 end
if ARGV[2] == '' or any then
  if ARGV[3] == 'make' then
    redis.call('XGROUP', 'CREATE', KEYS[3], 'none', '0-0', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', KEYS[3], 'none')
  end
  return 'here'
end
redis.call('PERSIST', KEYS[3]) -- lets what follows pass when memory is full, as in shards_mark
local mark = cjson.encode({state = 'moved', to = ARGV[2], token = '', generation = tonumber(ARGV[1])})
redis.call('SET', KEYS[3], mark)
redis.call('SET', KEYS[2], mark)
return 'there'
