-- outstanding tells which messages a subscription is not done with.
--
-- KEYS     1 stream  2 retry  3 dead  4 buried
-- ARGV     1 subscription, then for each message two: its id as Redis has it and as
--          beck has it
-- Returns  for each message its state, empty if the subscription is done with it,
--          or "ahead" if the topic has not given out its id
--
-- It fails with NOGROUP if the group does not exist: what it was done with is not
-- known then.

redis.call('XPENDING', KEYS[1], ARGV[1])
local last, delivered = '0-0', '0-0'
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then last = info[i + 1] end
end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then delivered = group[8] end
end

local function state(rid, id)
  if later(rid, last) then return 'ahead' end
  local retry = redis.call('HGET', KEYS[2], id .. ' state')
  if retry and cjson.decode(retry).owner then return 'held' end
  local open = later(rid, delivered) and 'ready'
  if not open and #redis.call('XPENDING', KEYS[1], ARGV[1], rid, rid, 1) > 0 then open = 'held' end
  -- What was removed meanwhile is not delivered any more.
  if open and #redis.call('XRANGE', KEYS[1], rid, rid) == 0 then open = nil end
  if open == 'held' then return open end
  if retry then return 'waiting' end
  if open then return open end
  local place = redis.call('HGET', KEYS[4], id)
  if place and #redis.call('XRANGE', KEYS[3], place, place) > 0 then return 'dead' end
  return ''
end

local states = {}
for i = 2, #ARGV, 2 do states[#states + 1] = state(ARGV[i], ARGV[i + 1]) end
return states
