-- serve puts a process on the list of those who serve, or renews that, and takes
-- off those who have not renewed it.
--
-- KEYS     1 repliers
-- ARGV     1 inbox of the process  2 for how many ms
-- Returns  1

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, inbox in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[1], inbox)
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
