-- delete_subscription removes a subscription with all it holds. A mark stays, so
-- that consumers which still run learn of it, and don't take it for lost.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry  6 dead  7 buried
--          8 lost
-- ARGV     1 subscription
-- Returns  "deleted", "no topic" or "no subscription"

local config = redis.call('HGET', KEYS[2], ARGV[1])
local live = config and not cjson.decode(config).deleted
if redis.call('EXISTS', KEYS[1]) == 1 then
  live = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) == 1 or live
elseif not live then
  return 'no topic'
end
if not live then return 'no subscription' end

for i = 3, 7 do redis.call('DEL', KEYS[i]) end
redis.call('HDEL', KEYS[8], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode({deleted = now}))

-- Marks are of no use to anyone after a day.
local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  local deleted = cjson.decode(subs[i + 1]).deleted
  if deleted and now - deleted > 86400000 then redis.call('HDEL', KEYS[2], subs[i]) end
end
return 'deleted'
