-- tick publishes a recurring message for one tick, once.
--
-- KEYS     as in room
-- ARGV     1 schedule  2 its version  3 tick in ms, then the fields of the message
-- Returns  {"done", id}, {"not now"}, {"full"}, {"again"} if it is to be tried again, or
--          {an error}

local entry = redis.call('HGET', KEYS[11], ARGV[1])
if not entry or cjson.decode(entry).version ~= ARGV[2] then return {'not now'} end
local last = redis.call('HGET', KEYS[11], ARGV[1] .. ' last')
if last and tonumber(last) >= tonumber(ARGV[3]) then return {'not now'} end

local fields = {}
for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
makeTopic()
if makeRoom({sizeOf(fields)}) == 0 then return {tired and 'again' or 'full'} end
local id, failed = publish(fields)
if failed then return {failed} end
redis.call('HSET', KEYS[11], ARGV[1] .. ' last', ARGV[3])
return {'done', id}
