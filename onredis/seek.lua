-- seek has a subscription go on from a position, and forgets what it holds and
-- has waiting.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry
-- ARGV     1 subscription  2 and 3 where, as in join
-- Returns  1, or 0 if a known id was not given out yet
--
-- It fails with NOGROUP, before it does anything, if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], '') -- as in take: what follows makes room when memory is full
local last = '0-0'
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end

local from = ARGV[3]
if ARGV[2] == 'end' then from = last end
if ARGV[2] == 'known' and later(from, last) then return 0 end
if later(from, last) then from = last end -- a time that has not come, by this clock
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config)
if not config or config.deleted then
  local time = redis.call('TIME') -- a group that another client made
  config = {lease_ms = 30000, created = time[1] * 1000 + math.floor(time[2] / 1000)}
end
config.pos = from
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(config))
redis.call('PERSIST', KEYS[2])
for i = 3, 5 do redis.call('UNLINK', KEYS[i]) end -- freed in the background, however much it is

-- A new group in place of the old one forgets what was pending at once, however
-- much that is. Its consumers are known again, so that they are shown.
local consumers = redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], from)
for _, consumer in ipairs(consumers) do
  redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[1], consumer[2])
end
return 1
