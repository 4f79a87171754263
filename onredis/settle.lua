-- settle ends or prolongs leases of a consumer.
--
-- KEYS     1 stream  2 subs  3 waiting  4 leased  5 retry  6 dead  7 lost
--          8 buried
-- ARGV     1 subscription  2 consumer, then for each settlement five:
--          what to do (ack, retry, release, dead, renew), the id as Redis has
--          it, the id as beck has it, ms until the retry, the reason
-- Returns  the numbers, from 1, of the settlements whose message was not held
--
-- It fails with NOGROUP, before it does anything, if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
-- When its memory is full, Redis refuses a script what takes memory, unless the
-- script has written something before. This removes nothing, and has
-- acknowledgements pass, which make room.
redis.call('ZREM', KEYS[3], '')
local group, consumer = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local config = redis.call('HGET', KEYS[2], group)
config = config and cjson.decode(config) or {}
local lease = config.lease_ms or 30000

-- What is released is due before all else, and among its like in the order of the
-- topic, as if it had never been delivered.
local released = 0

local function lose() redis.call('HINCRBY', KEYS[7], group, 1) end

-- acknowledge takes a message out of the list of pending ones, and out of a queue,
-- and reports whether it was there.
local function acknowledge(rid)
  local pending = redis.call('XACK', KEYS[1], group, rid) == 1
  if pending and config.queue then redis.call('XDEL', KEYS[1], rid) end
  return pending
end

local function forget(id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('HDEL', KEYS[5], id, id .. ' state')
end

local function wait(id, state, due)
  state.owner = nil
  redis.call('HSET', KEYS[5], id .. ' state', cjson.encode(state))
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZADD', KEYS[3], due, id)
end

local function bury(id, fields, attempts, reason)
  local letter = fields
  if #fields > 7000 then letter = {'dead:fields', cmsgpack.pack(fields)} end -- more than unpack can take
  local n = #letter
  for i, v in ipairs({'dead:id', id, 'dead:reason', reason, 'dead:attempts', attempts, 'dead:consumer', consumer}) do
    letter[n + i] = v
  end
  local before = redis.call('HGET', KEYS[8], id)
  if before then redis.call('XDEL', KEYS[6], before) end -- it has died once more
  redis.call('HSET', KEYS[8], id, redis.call('XADD', KEYS[6], '*', unpack(letter)))
end

-- A message that was never retried is in the group's list of pending ones.
-- It may have a copy in retry all the same, if its group was lost and made again:
-- one that waits is replaced, one that is held will do.
local function settlePending(action, rid, id, after, reason, copy)
  local held = redis.call('XPENDING', KEYS[1], group, rid, rid, 1, consumer)[1]
  if not held then return false end
  if action == 'renew' then
    if #redis.call('XCLAIM', KEYS[1], group, consumer, 0, rid, 'JUSTID') == 0 then lose() end
    return true
  end
  local entry = redis.call('XRANGE', KEYS[1], rid, rid)[1]
  acknowledge(rid)
  if copy and (copy.owner or not entry) then return true end
  if copy then forget(id) end
  if not entry then
    lose()
  elseif action == 'dead' then
    bury(id, entry[2], held[4], reason)
  else
    local attempt, due = held[4], now + after
    if action == 'release' then attempt, due = math.max(0, attempt - 1), released end
    redis.call('HSET', KEYS[5], id, cmsgpack.pack(entry[2]))
    wait(id, {attempt = attempt, reason = reason}, due)
  end
  return true
end

-- One that was is a copy in retry, leased to its owner. Should it be pending too,
-- the copy is the one that counts.
local function settleRetry(action, rid, id, state, after, reason)
  if action == 'renew' then
    redis.call('ZADD', KEYS[4], now + lease, id)
    return
  end
  acknowledge(rid)
  if action == 'dead' then
    local packed = redis.call('HGET', KEYS[5], id)
    if packed then bury(id, cmsgpack.unpack(packed), state.attempt, reason) else lose() end
    forget(id)
  else
    local due = now + after
    if action == 'release' then state.attempt, due = math.max(0, state.attempt - 1), released end
    if action == 'retry' then state.reason = reason end
    wait(id, state, due)
  end
end

local function settle(action, rid, id, after, reason)
  local state = redis.call('HGET', KEYS[5], id .. ' state')
  state = state and cjson.decode(state)
  local held = state and state.owner or nil -- without one it waits for its retry
  if action == 'ack' then
    local pending = acknowledge(rid)
    if held or (state and pending) then forget(id) end
    return held ~= nil or pending
  end
  if held ~= consumer then return settlePending(action, rid, id, after, reason, state) end
  settleRetry(action, rid, id, state, after, reason)
  return true
end

local missing = {}
for i = 3, #ARGV, 5 do
  if not settle(ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]) then
    missing[#missing + 1] = (i + 2) / 5
  end
end
return missing
