-- publish publishes messages of which Redis has to know more than their fields: to
-- a topic with bounds, with a delay, or with a deduplication id.
--
-- KEYS     as in room
-- ARGV     1 for how many ms deduplication ids are remembered in a topic that was
--          not configured, then for each message: its time ("" for at once, "+" and
--          ms of delay, "@" and ms since 1970), its deduplication id or "", the
--          number of its fields and values, and these
-- Returns  {"ok", "full", "again" if the rest is to be tried again, or an error, then the ids of the messages at the front
--          that are stored}

local window = config.dedupe_window_ms or tonumber(ARGV[1])
local list, sizes, batch, asked, i = {}, {}, {}, {}, 2
while i <= #ARGV do
  local when, m = ARGV[i], {once = ARGV[i + 1], fields = {}}
  for j = 1, tonumber(ARGV[i + 2]) do m.fields[j] = ARGV[i + 2 + j] end
  i = i + 3 + #m.fields
  if m.once ~= '' then
    m.same = batch[m.once]
    if not m.same then
      batch[m.once] = #list + 1
      asked[#asked + 1] = m.once
    end
  end
  if when:sub(1, 1) == '+' then
    -- Counted from the end of this millisecond, so as never to be early.
    m.due = time[1] * 1000 + math.ceil(time[2] / 1000) + tonumber(when:sub(2))
  elseif when ~= '' then
    m.due = tonumber(when:sub(2))
    if m.due <= now then m.due = nil end
  end
  list[#list + 1] = m
end

local once, ends = {}, {}

-- What needs a command for each of its parts is done by one for all messages, here
-- and below.
if #asked > 0 then
  for j, id in ipairs(redis.call('HMGET', KEYS[9], unpack(asked))) do
    local over = id and redis.call('ZSCORE', KEYS[10], asked[j])
    if over and tonumber(over) > now then
      list[batch[asked[j]]].id = id
      -- Written once more as it is: WAIT waits for what its connection wrote.
      once[#once + 1] = asked[j]
      once[#once + 1] = id
    end
  end
end
for _, m in ipairs(list) do
  if not m.same and not m.id and not m.due then
    sizes[#sizes + 1] = sizeOf(m.fields)
    m.place = #sizes
  end
end

local number
local kept, dues = {}, {}
local function keep(m)
  number = number or redis.call('HINCRBY', KEYS[5], 'delayed', #list) - #list
  number = number + 1
  local id = string.format('d%013.0f-%010.0f', m.due, number)
  kept[#kept + 1] = id
  kept[#kept + 1] = cmsgpack.pack(m.fields)
  if m.once ~= '' then
    kept[#kept + 1] = id .. ' once'
    kept[#kept + 1] = m.once
  end
  dues[#dues + 1] = m.due
  dues[#dues + 1] = id
  return id
end

local function remember(m)
  once[#once + 1] = m.once
  once[#once + 1] = m.id
  ends[#ends + 1] = now + window
  ends[#ends + 1] = m.once
end

-- prune forgets deduplication ids whose time is over, more than came.
local function prune()
  local over = redis.call('ZRANGEBYSCORE', KEYS[10], '-inf', now, 'LIMIT', 0, 10 + #once)
  if #over > 0 then
    redis.call('ZREM', KEYS[10], unpack(over))
    redis.call('HDEL', KEYS[9], unpack(over))
  end
  -- Both end together, and not so exactly that each call would have to see to it.
  if redis.call('PTTL', KEYS[10]) < window then
    for key = 9, 10 do redis.call('PEXPIRE', KEYS[key], math.ceil(1.25 * window)) end
  end
end

makeTopic()
local result, room = {'ok'}, 0
for _, m in ipairs(list) do
  if m.same then
    m.id = list[m.same].id
  elseif not m.id then
    if m.due then
      if tooLarge(sizeOf(m.fields) + 64) then -- with the header that it will have
        result[1] = 'full' -- it could never enter the topic, and would keep others out
        break
      end
      m.id = keep(m)
    else
      if m.place > room then
        local rest = {}
        for j = m.place, #sizes do rest[#rest + 1] = sizes[j] end
        room = room + makeRoom(rest)
      end
      if m.place > room then
        result[1] = tired and 'again' or 'full'
        break
      end
      local failed
      m.id, failed = publish(m.fields)
      if failed then
        result[1] = failed
        break
      end
    end
    if m.once ~= '' then remember(m) end
  end
  result[#result + 1] = m.id
end
if #kept > 0 then
  redis.call('HSET', KEYS[7], unpack(kept))
  redis.call('ZADD', KEYS[6], unpack(dues))
  setDue()
end
if #once > 0 then
  redis.call('HSET', KEYS[9], unpack(once))
  if #ends > 0 then
    redis.call('ZADD', KEYS[10], unpack(ends))
    prune()
  end
end
return result
