-- ack acknowledges messages of a queue and removes them from its topic.
--
-- KEYS     1 stream  2 subs
-- ARGV     1 subscription, then the ids as Redis has them
-- Returns  how many were held

local acked = redis.call('XACK', KEYS[1], unpack(ARGV))
local config = redis.call('HGET', KEYS[2], ARGV[1])
if not config or not cjson.decode(config).queue then return acked end
if acked == #ARGV - 1 then
  redis.call('XDEL', KEYS[1], unpack(ARGV, 2))
  return acked
end
-- Some were not held. What was delivered is done with now, but what was not stays.
if redis.call('EXISTS', KEYS[1]) == 0 then return acked end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then
    for i = 2, #ARGV do
      if not later(ARGV[i], group[8]) then redis.call('XDEL', KEYS[1], ARGV[i]) end
    end
  end
end
return acked
