-- take leases to a consumer the retries that are due and those whose lease has
-- ended. It reads all that a fetch depends on, so that the connection it runs on
-- is told when any of it changes.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry  6 lost  7 due
-- ARGV     1 subscription  2 consumer  3 how many to take, 0 to take none  4 about how
--          many bytes
-- Returns  {lease in ms,
--           ms until the next one is due, 0 if one is now, -1 if there is none, -2 if
--           the subscription is paused,
--           {{id, attempt, {field, value, …}}, …},
--           ms until a delayed message of the topic is due, as above,
--           1 if the topic is a queue,
--           how many messages the subscription lost, not told of before}

redis.call('XLEN', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config) or {}
local lease = config.lease_ms or 30000

local delayed, queue = redis.call('GET', KEYS[7]), config.queue and 1 or 0
delayed = delayed and math.max(0, tonumber(delayed) - now) or -1
if config.paused then return {lease, -2, {}, delayed, queue, 0} end

local max, bytes, taken = tonumber(ARGV[3]), tonumber(ARGV[4]), {}
-- When its memory is full, Redis refuses a script what takes memory, unless the
-- script has written something before. This removes nothing.
if max > 0 then redis.call('ZREM', KEYS[3], '') end

local function take(ids)
  for _, id in ipairs(ids) do
    if #taken >= max or bytes <= 0 then return end
    local packed = redis.call('HGET', KEYS[5], id)
    local state = redis.call('HGET', KEYS[5], id .. ' state')
    if not packed or not state then
      -- Someone else removed the copy: there is nothing left to deliver.
      redis.call('ZREM', KEYS[3], id)
      redis.call('ZREM', KEYS[4], id)
      redis.call('HDEL', KEYS[5], id, id .. ' state')
      redis.call('HINCRBY', KEYS[6], ARGV[1], 1)
    else
      state = cjson.decode(state)
      state.owner = ARGV[2]
      state.attempt = state.attempt + 1
      redis.call('HSET', KEYS[5], id .. ' state', cjson.encode(state))
      redis.call('ZREM', KEYS[3], id)
      redis.call('ZADD', KEYS[4], now + lease, id)
      taken[#taken + 1] = {id, state.attempt, cmsgpack.unpack(packed)}
      bytes = bytes - #packed
    end
  end
end

if max > 0 then
  take(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, max))
  take(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, max))
end

local due = -1
for i = 3, 4 do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  if first[2] then
    local ms = math.max(0, tonumber(first[2]) - now)
    if due < 0 or ms < due then due = ms end
  end
end
local counts = redis.call('HMGET', KEYS[6], ARGV[1], ARGV[1] .. ' told')
local lost, told = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
if lost > told then
  redis.call('HDEL', KEYS[6], '') -- as above
  redis.call('HSET', KEYS[6], ARGV[1] .. ' told', lost)
end
return {lease, due, taken, delayed, queue, math.max(0, lost - told)}
