-- settle ends or prolongs leases of a consumer.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry  6 dead  7 lost
-- ARGV     1 subscription  2 consumer, then for each settlement five:
--          what to do (ack, retry, release, dead, renew), the id as Redis has
--          it, the id as beck has it, ms until the retry, the reason
-- Returns  the numbers, from 1, of the settlements whose message was not held
--
-- It fails with NOGROUP, before it does anything, if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
local group, consumer = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = 30000
local config = redis.call('HGET', KEYS[2], group)
if config then lease = cjson.decode(config).lease_ms or lease end

local function lose() redis.call('HINCRBY', KEYS[7], group, 1) end

local function forget(id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('HDEL', KEYS[5], id, id .. ' state')
end

local function wait(id, state, after)
  state.owner = nil
  redis.call('HSET', KEYS[5], id .. ' state', cjson.encode(state))
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZADD', KEYS[3], now + after, id)
end

local function bury(id, fields, attempts, reason)
  local letter = fields
  if #fields > 7000 then letter = {'dead:fields', cmsgpack.pack(fields)} end -- more than unpack can take
  local n = #letter
  for i, v in ipairs({'dead:id', id, 'dead:reason', reason, 'dead:attempts', attempts, 'dead:consumer', consumer}) do
    letter[n + i] = v
  end
  redis.call('XADD', KEYS[6], '*', unpack(letter))
end

-- A message that was never retried is in the group's list of pending ones.
local function settlePending(action, rid, id, after, reason)
  local held = redis.call('XPENDING', KEYS[1], group, rid, rid, 1, consumer)[1]
  if not held then return false end
  if action == 'renew' then
    if #redis.call('XCLAIM', KEYS[1], group, consumer, 0, rid, 'JUSTID') == 0 then lose() end
    return true
  end
  local entry = redis.call('XRANGE', KEYS[1], rid, rid)[1]
  redis.call('XACK', KEYS[1], group, rid)
  if not entry then
    lose()
  elseif action == 'dead' then
    bury(id, entry[2], held[4], reason)
  else
    local attempt = held[4]
    if action == 'release' then attempt, after = math.max(0, attempt - 1), 0 end
    redis.call('HSET', KEYS[5], id, cmsgpack.pack(entry[2]))
    wait(id, {attempt = attempt, reason = reason}, after)
  end
  return true
end

-- One that was is a copy in retry, leased to its owner.
local function settleRetry(action, id, state, after, reason)
  if action == 'renew' then
    redis.call('ZADD', KEYS[4], now + lease, id)
  elseif action == 'dead' then
    local packed = redis.call('HGET', KEYS[5], id)
    if packed then bury(id, cmsgpack.unpack(packed), state.attempt, reason) else lose() end
    forget(id)
  else
    if action == 'release' then state.attempt, after = math.max(0, state.attempt - 1), 0 end
    if action == 'retry' then state.reason = reason end
    wait(id, state, after)
  end
end

local function settle(action, rid, id, after, reason)
  local state = redis.call('HGET', KEYS[5], id .. ' state')
  if not state then
    if action == 'ack' then return redis.call('XACK', KEYS[1], group, rid) == 1 end
    return settlePending(action, rid, id, after, reason)
  end
  state = cjson.decode(state)
  if not state.owner then return false end -- it waits for its retry
  if action == 'ack' then
    forget(id)
    return true
  end
  if state.owner ~= consumer then return false end
  settleRetry(action, id, state, after, reason)
  return true
end

local missing = {}
for i = 3, #ARGV, 5 do
  if not settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]) then
    missing[#missing + 1] = (i + 2) / 5
  end
end
return missing
