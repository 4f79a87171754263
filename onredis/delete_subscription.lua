-- delete_subscription removes a subscription with all it holds. A mark stays, so
-- that consumers which still run learn of it, and don't take it for lost.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry  6 dead  7 buried
--          8 lost  9 seen
-- ARGV     1 subscription  2 "expired" to delete it only if nobody has read it for as
--          long as it may go unread, and no consumer holds anything, or ""
-- Returns  "deleted", "no topic", "no subscription" or "in use"

local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config) or {deleted = 0}
local live = not config.deleted
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- held tells whether a consumer may hold something, or did just now: one that renews
-- its leases need not fetch meanwhile.
local function held()
  if redis.call('ZCOUNT', KEYS[4], '(' .. string.format('%.0f', now), '+inf') > 0 then return true end
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
  for _, c in ipairs(consumers) do
    if c[6] < (config.lease_ms or 30000) then return true end
  end
  return false
end

if ARGV[2] == 'expired' then
  local seen = math.max(config.created or now, tonumber(redis.call('HGET', KEYS[9], ARGV[1]) or 0))
  if not live or (config.expires_ms or 0) == 0 or now - seen < config.expires_ms or held() then return 'in use' end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  live = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) == 1 or live
elseif not live then
  return 'no topic'
end
if not live then return 'no subscription' end

for i = 3, 7 do redis.call('UNLINK', KEYS[i]) end
redis.call('HDEL', KEYS[8], ARGV[1], ARGV[1] .. ' told')
redis.call('HDEL', KEYS[9], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode({deleted = now}))

-- Marks are of no use to anyone after a day.
local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  local deleted = cjson.decode(subs[i + 1]).deleted
  if deleted and now - deleted > 86400000 then redis.call('HDEL', KEYS[2], subs[i]) end
end
return 'deleted'
