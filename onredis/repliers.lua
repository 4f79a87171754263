-- repliers lists those who serve, a thousand at most.
--
-- KEYS     1 repliers
-- Returns  {inbox, score, …}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1000)
