-- cancel removes delayed messages, and forgets their deduplication ids.
--
-- KEYS     as in room
-- ARGV     the ids
-- Returns  the numbers, from 1, of those that are not there, or nil if the topic
--          doesn't exist

if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
local missing = {}
for i, id in ipairs(ARGV) do
  if redis.call('ZREM', KEYS[6], id) == 0 then
    missing[#missing + 1] = i
  else
    local once = redis.call('HGET', KEYS[7], id .. ' once')
    if once and redis.call('HGET', KEYS[9], once) == id then
      redis.call('HDEL', KEYS[9], once)
      redis.call('ZREM', KEYS[10], once)
    end
    redis.call('HDEL', KEYS[7], id, id .. ' once')
  end
end
setDue()
return missing
