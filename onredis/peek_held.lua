-- peek_held looks at the messages that consumers hold, in the order of the topic:
-- those of the group's list of pending ones, and retries.
--
-- KEYS     1 stream  2 subs  3 leased  4 retry
-- ARGV     1 subscription  2 the id seen last, as Redis has it, empty for none
--          3 how many  4 about how many bytes
-- Returns  {1 if there are others,
--           {{id, consumer, ms since 1970 when the lease began, ms when it ends,
--             attempt, reason, {field, value, …}}, …}}
--
-- It fails with NOGROUP if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = 30000
local config = redis.call('HGET', KEYS[2], ARGV[1])
if config then lease = cjson.decode(config).lease_ms or lease end
local after, max = ARGV[2], tonumber(ARGV[3])

-- Of the retries, which may be very many, the first ones behind after are kept.
-- They are compared by numbers as far as these are exact.
local function before(a, b)
  if a.ms ~= b.ms then return a.ms < b.ms end
  return later(b.id, a.id)
end
local retries, most, last = {}, 2 * max + 100, nil
local seen = after ~= '' and {id = after, ms = tonumber(after:match('^%d+'))}
local function keepFirst()
  table.sort(retries, before)
  for i = #retries, most + 1, -1 do retries[i] = nil end
  last = retries[most]
end
local leased = redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
for i = 1, #leased, 2 do
  local ms, seq = leased[i]:match('^%l?0*(%d+)%-%l?0*(%d+)$')
  local r = ms and {id = ms .. '-' .. seq, ms = tonumber(ms), text = leased[i], due = tonumber(leased[i + 1])}
  if r and (not seen or before(seen, r)) and (not last or before(r, last)) then
    retries[#retries + 1] = r
    if #retries == 2 * most then keepFirst() end
  end
end
keepFirst()

local bytes, more, list, nextRetry = tonumber(ARGV[4]), 0, {}, 1

-- room tells whether there is room for another one.
local function room()
  if #list < max and bytes > 0 then return true end
  more = 1
  return false
end

local function addRetry(r)
  local packed = redis.call('HGET', KEYS[4], r.text)
  local state = redis.call('HGET', KEYS[4], r.text .. ' state')
  state = state and cjson.decode(state)
  if not packed or not state or not state.owner then return end
  bytes = bytes - #packed
  list[#list + 1] = {r.id, state.owner, r.due - lease, r.due, state.attempt, state.reason or '', cmsgpack.unpack(packed)}
end

-- retriesBefore adds the retries that come before an id, or all, and returns
-- whether the id itself is among them.
local function retriesBefore(id)
  while more == 0 and retries[nextRetry] do
    local r = retries[nextRetry]
    if id and later(r.id, id) then return false end
    if not room() then return false end
    addRetry(r)
    nextRetry = nextRetry + 1
    if r.id == id then return true end
  end
  return false
end

local at, step = after == '' and '-' or '(' .. after, 10
while more == 0 do
  local page = redis.call('XPENDING', KEYS[1], ARGV[1], at, '+', step)
  for _, p in ipairs(page) do
    if not retriesBefore(p[1]) then
      if more == 1 then break end
      local entry = redis.call('XRANGE', KEYS[1], p[1], p[1])[1]
      if entry then -- or it was removed while it was held
        if not room() then break end
        for _, v in ipairs(entry[2]) do bytes = bytes - #v end
        local since = now - p[3]
        list[#list + 1] = {p[1], p[2], since, since + lease, p[4], '', entry[2]}
      end
    end
    at = '(' .. p[1]
  end
  if #page < step then break end
  step = 100
end
retriesBefore(nil)
return {more, list}
