-- trim removes the messages before an id, but none that a subscription has yet
-- to be given or to settle.
--
-- KEYS     1 stream  2 subs, then the leased of each subscription
-- ARGV     1 id, or "end" for all
-- Returns  how many were removed, or -1 if the topic doesn't exist

if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end

local bound = ARGV[1]
if bound == 'end' then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then bound = behind(info[i + 1]) end
  end
end
local function keepFrom(id)
  if later(bound, id) then bound = id end
end

local there = {}
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  there[group[2]] = true
  local pending = redis.call('XPENDING', KEYS[1], group[2])
  keepFrom(behind(group[8]))
  if pending[1] > 0 then keepFrom(pending[2]) end
end
-- A subscription whose group was lost goes on where it is known to have been.
local subs = redis.call('HGETALL', KEYS[2])
for i = 1, #subs, 2 do
  local config = cjson.decode(subs[i + 1])
  if not there[subs[i]] and not config.deleted then
    keepFrom(behind(config.pos or config.from or '0-0'))
  end
end
-- Retries that are leased are copies, but not settled all the same.
for i = 3, #KEYS do
  for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
    local ms, seq = id:match('^%l?0*(%d+)%-%l?0*(%d+)$')
    if ms then keepFrom(ms .. '-' .. seq) end
  end
end
return redis.call('XTRIM', KEYS[1], 'MINID', bound)
