-- join makes a subscription where there is none.
--
-- KEYS     1 stream  2 subs  3 lost  4 seen
-- ARGV     1 subscription
--          2 where it begins: "end", or "after" the id in 3, which may lie
--            anywhere, or "known", after that id, which the topic must have
--            given out
--          3 id
--          4 lease in ms, 0 for none given  5 lease in ms for a new subscription
--          6 in ms after what time unread it is deleted, 0 for none given
--          7 "queue" if it is to be that of a queue, or ""
-- Returns  {"made" or "existed", lease in ms, 1 if the topic is a queue}, or
--          {"ahead"} if a known id was not given out yet, {"queue"} if the topic is a
--          queue, {"others"} if it is to be one and has other subscriptions

local exists, others, last = false, false, '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    exists = exists or group[2] == ARGV[1]
    others = others or group[2] ~= ARGV[1]
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config)
if config and config.deleted then config = nil end

local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  if subs[i] ~= ARGV[1] then
    local other = cjson.decode(subs[i + 1])
    if other.queue then return {'queue'} end
    others = others or not other.deleted
  end
end
if ARGV[7] == 'queue' and others then return {'others'} end

-- As in take: who comes back makes room when memory is full.
if exists or config then redis.call('HDEL', KEYS[2], '') end
local answer = 'existed'
if not exists then
  local from = ARGV[3]
  if config then
    -- The group was lost: it goes on where it is known to have been, as in heal.
    from = config.pos or config.from or '0-0'
    if later(from, last) then from = '0-0' end
    config.pos = from
  else
    answer = 'made'
    if ARGV[2] == 'end' then from = last end
    if ARGV[2] == 'known' and later(from, last) then return {'ahead'} end
    if later(from, last) then from = last end -- a time that has not come, by this clock
    config = {from = from, lease_ms = tonumber(ARGV[5]), created = now}
  end
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], from, 'MKSTREAM')
end
if answer == 'made' or ARGV[6] ~= '0' then redis.call('HSET', KEYS[4], ARGV[1], now) end
-- A group that another client made gets its place in subs by its first reclaim.
config = config or {lease_ms = tonumber(ARGV[5]), created = now}

-- Leases are counted from when a message was delivered, so for a new lease that
-- moment is shifted, for what is pending to keep the end that it has, or to end
-- one new lease from now if that comes first: nothing can be delivered in the
-- future. Where very much is pending it is left, not to hold up Redis; its leases
-- then have their new length from their delivery on.
local function shift(by)
  local from = '-'
  repeat
    local page = redis.call('XPENDING', KEYS[1], ARGV[1], from, '+', 1000)
    for _, p in ipairs(page) do
      local idle = string.format('%.0f', math.max(0, p[3] + by))
      if #redis.call('XCLAIM', KEYS[1], ARGV[1], p[2], 0, p[1], 'IDLE', idle, 'JUSTID') == 0 then
        redis.call('HINCRBY', KEYS[3], ARGV[1], 1) -- its message is gone
      end
      from = '(' .. p[1]
    end
  until #page < 1000
end
local lease = tonumber(ARGV[4])
if lease > 0 then
  local old = config.lease_ms or 30000
  if old ~= lease and redis.call('XPENDING', KEYS[1], ARGV[1])[1] <= 5000 then shift(lease - old) end
  config.lease_ms = lease
end

if ARGV[6] ~= '0' then config.expires_ms = tonumber(ARGV[6]) end
if ARGV[7] == 'queue' then config.queue = true end
local kept = cjson.encode(config)
if redis.call('HGET', KEYS[2], ARGV[1]) ~= kept then redis.call('HSET', KEYS[2], ARGV[1], kept) end
redis.call('PERSIST', KEYS[2])
return {answer, config.lease_ms or 30000, config.queue and 1 or 0}
