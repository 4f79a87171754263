-- recover leases again to a consumer what it holds already, the oldest first.
-- XREADGROUP would do as much for messages never retried, but not write down
-- that it did.
--
-- KEYS     1 stream  2 subs  3 lost  4 leased  5 retry
-- ARGV     1 subscription  2 consumer  3 how many
-- Returns  {lease in ms, {{id, attempt, {field, value, …}}, …}}

local max = tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = 30000
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config) or {}
lease = config.lease_ms or lease
if config.paused then return {lease, {}} end

-- Both kinds of what it holds, to be put in the order of the topic. Numbers of
-- ids are kept as texts, since they may be larger than Lua's are exact.
local held = {}
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', max, ARGV[2])) do
  local ms, seq = pending[1]:match('^(%d+)-(%d+)$')
  held[#held + 1] = {ms = ms, seq = seq, id = pending[1], attempt = pending[4]}
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[4], 0, 9999)) do
  local state = redis.call('HGET', KEYS[5], id .. ' state')
  state = state and cjson.decode(state)
  if state and state.owner == ARGV[2] then
    local ms, seq = id:match('^%l?0*(%d+)%-%l?0*(%d+)$')
    held[#held + 1] = {ms = ms, seq = seq, id = id, attempt = state.attempt, state = state}
  end
end
local function less(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
table.sort(held, function(a, b)
  if a.ms ~= b.ms then return less(a.ms, b.ms) end
  return less(a.seq, b.seq)
end)

-- As in take: when memory is full, this lets what follows pass.
redis.call('ZREM', KEYS[4], '')
local taken = {}
for i = 1, math.min(max, #held) do
  local h, fields = held[i], nil
  if h.state then
    local packed = redis.call('HGET', KEYS[5], h.id)
    fields = packed and cmsgpack.unpack(packed)
    h.state.attempt = h.attempt + 1
    redis.call('HSET', KEYS[5], h.id .. ' state', cjson.encode(h.state))
    redis.call('ZADD', KEYS[4], now + lease, h.id)
  else
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, h.id)[1]
    fields = entry and entry[2]
    if not fields then redis.call('HINCRBY', KEYS[3], ARGV[1], 1) end -- its message is gone
  end
  if fields then taken[#taken + 1] = {h.id, h.attempt + 1, fields} end
end
return {lease, taken}
