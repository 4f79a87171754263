-- peek_sorted looks at messages in the order of the times at which they are due:
-- those that wait for a retry, or delayed ones.
--
-- KEYS     1 stream  2 the sorted set  3 the hash of their fields
-- ARGV     1 subscription, empty for delayed  2 the id seen last, empty for none
--          3 when that was due, if known  4 how many  5 about how many bytes
-- Returns  {1 if there are others, ms since 1970,
--           {{id, ms when due, attempt, reason, {field, value, …}}, …}}
--
-- It fails with NOGROUP if the group does not exist.

redis.call('XLEN', KEYS[1]) -- fails if the topic has moved to another instance
if ARGV[1] ~= '' then redis.call('XPENDING', KEYS[1], ARGV[1]) end

-- rank finds the place behind an id that was due at some time, be it there or not.
local function rank(id, score)
  local low = redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', KEYS[2], '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', KEYS[2], middle, middle)[1] <= id then low = middle + 1 else high = middle end
  end
  return low
end

local at, score = 0, ARGV[3]
if ARGV[2] ~= '' then
  if score == '' then score = redis.call('ZSCORE', KEYS[2], ARGV[2]) or '' end
  if score ~= '' then at = rank(ARGV[2], score) end
end

local max, bytes, more, list = tonumber(ARGV[4]), tonumber(ARGV[5]), 0, {}
local step = 10
while more == 0 do
  local page = redis.call('ZRANGE', KEYS[2], at, at + step - 1, 'WITHSCORES')
  for i = 1, #page, 2 do
    if #list >= max or bytes <= 0 then
      more = 1
      break
    end
    local packed = redis.call('HGET', KEYS[3], page[i])
    if packed then
      bytes = bytes - #packed
      local state = redis.call('HGET', KEYS[3], page[i] .. ' state')
      state = state and cjson.decode(state) or {}
      list[#list + 1] = {page[i], page[i + 1], state.attempt or 0, state.reason or '', cmsgpack.unpack(packed)}
    end
  end
  if #page < 2 * step then break end
  at, step = at + step, 100
end
local time = redis.call('TIME')
return {more, time[1] * 1000 + math.floor(time[2] / 1000), list}
