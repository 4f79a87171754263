-- reclaim leases to a consumer the messages whose lease has ended, keeps the
-- position from which the subscription can be restored, forgets consumers that have
-- been gone for long, and notes that somebody reads. Of a queue it removes what
-- others acknowledged and left there.
--
-- KEYS     1 stream  2 subs  3 lost  4 seen
-- ARGV     1 subscription  2 consumer  3 how many to take  4 where to go on in
--          the list of pending messages, 0-0 for its start
-- Returns  {lease in ms, where to go on, messages found lost,
--           {{id, attempt, {field, value, …}}, …}}

redis.call('HDEL', KEYS[4], '') -- lets what follows pass when memory is full, as in take
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config) or {}
local lease = config.lease_ms or 30000

-- One XAUTOCLAIM looks at ten times as many messages as it may claim. All together
-- look at about ten thousand, to keep the script short.
local max, cursor, lost, taken = tonumber(ARGV[3]), ARGV[4], 0, {}
local looks = 10000
if config.paused then looks = 0 end
while looks > 0 do
  local count = math.min(max - #taken, 1000)
  local r = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], lease, cursor, 'COUNT', count)
  cursor, looks = r[1], looks - 10 * count
  for _, entry in ipairs(r[2]) do
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
    taken[#taken + 1] = {entry[1], pending[1][4], entry[2]}
  end
  lost = lost + #r[3]
  if cursor == '0-0' or #taken >= max then break end
end
if lost > 0 then redis.call('HINCRBY', KEYS[3], ARGV[1], lost) end

-- before is an id right before id, or a little earlier where numbers in Lua are
-- not exact.
local function before(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  if tonumber(seq) > 0 and #seq < 15 then return ms .. '-' .. string.format('%.0f', seq - 1) end
  if tonumber(ms) > 0 then return string.format('%.0f', ms - 1) .. '-18446744073709551615' end
  return '0-0'
end

local pos, trim
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
if pending[1] > 0 then
  pos, trim = before(pending[2]), pending[2]
else
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if group[2] == ARGV[1] then pos, trim = group[8], behind(group[8]) end
  end
end
if not config.deleted and pos ~= config.pos then
  config.pos = pos
  redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(config))
  redis.call('PERSIST', KEYS[2]) -- what DeleteTopic left there ends after an hour
end

-- What stands before all that is needed was acknowledged by a client that does not
-- remove it.
if config.queue and trim then redis.call('XTRIM', KEYS[1], 'MINID', trim) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or 0)
if now - seen > math.min(lease / 8, 2500) then redis.call('HSET', KEYS[4], ARGV[1], now) end

local gone = math.max(10 * lease, 3600000)
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  if consumer[4] == 0 and consumer[6] > gone and consumer[2] ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer[2])
  end
end
return {lease, cursor, lost, taken}
