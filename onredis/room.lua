-- room is the beginning of scripts that publish, behind ids: it holds a topic to
-- its bounds, and publishes.
--
-- KEYS     1 stream  2 subs  3 lost  4 topic  5 counts  6 delayed  7 delayed:fields
--          8 due  9 once  10 once:ends  11 schedules
--          12 waiting and 13 leased of the subscription of a queue

redis.call('XLEN', KEYS[1]) -- fails, before anything is done, if the topic has moved to another instance
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local config = redis.call('GET', KEYS[4])
config = config and cjson.decode(config) or {}
local maxMessages, maxBytes = config.max_messages or 0, config.max_bytes or 0

-- makeTopic makes the topic if it isn't there: a stream without entries.
local function makeTopic()
  -- XLEN fails if it is no stream.
  if redis.call('XLEN', KEYS[1]) > 0 or redis.call('EXISTS', KEYS[1]) == 1 then return end
  redis.call('XGROUP', 'CREATE', KEYS[1], 'none', '0-0', 'MKSTREAM')
  redis.call('XGROUP', 'DESTROY', KEYS[1], 'none')
end

-- stored is how many messages count against the bound. Those of a queue that are
-- retried have left the stream; they can't be dropped, so they don't count where
-- others are.
local function stored()
  local n = redis.call('XLEN', KEYS[1])
  if config.drop_oldest then return n end
  local queue = redis.call('HGET', KEYS[2], 'workers')
  if queue and cjson.decode(queue).queue then
    n = n + redis.call('ZCARD', KEYS[12]) + redis.call('ZCARD', KEYS[13])
  end
  return n
end

-- readers lists the subscriptions with the first id that each may still need.
-- Of what is retried they have copies.
local function readers()
  local list, there = {}, {}
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    there[group[2]] = true
    local r = {name = group[2], group = true, delivered = group[8], from = behind(group[8])}
    if group[6] > 0 then
      local first = redis.call('XPENDING', KEYS[1], group[2])[2]
      if later(r.from, first) then r.from = first end
      r.pending = true
    end
    list[#list + 1] = r
  end
  local subs = redis.call('HGETALL', KEYS[2])
  for i = 1, #subs, 2 do
    local sub = cjson.decode(subs[i + 1])
    if not there[subs[i]] and not sub.deleted then
      local pos = sub.pos or sub.from or '0-0'
      list[#list + 1] = {name = subs[i], delivered = pos, from = behind(pos)}
    end
  end
  return list
end

-- drop counts what subscriptions lose with some entries, the oldest ones.
local function drop(entries, list)
  local needed = {}
  local last = entries[#entries][1]
  for _, r in ipairs(list) do
    local lost = 0
    for i = #entries, 1, -1 do
      if not later(entries[i][1], r.delivered) then break end
      lost, needed[i] = lost + 1, true
    end
    while r.pending do
      local pending = redis.call('XPENDING', KEYS[1], r.name, '-', last, 100)
      for _, p in ipairs(pending) do
        lost = lost + redis.call('XACK', KEYS[1], r.name, p[1])
        for i, entry in ipairs(entries) do
          if entry[1] == p[1] then needed[i] = true end
        end
      end
      if #pending < 100 then break end
    end
    if lost > 0 then redis.call('HINCRBY', KEYS[3], r.name, lost) end
  end
  local dropped = 0
  for _ in pairs(needed) do dropped = dropped + 1 end
  if dropped > 0 then redis.call('HINCRBY', KEYS[5], 'dropped', dropped) end
end

-- One script looks at so many messages and bytes at most to remove them, not to hold
-- up Redis. Then it is tired: it is to be called again, and goes on.
local looks, looked, tired = 10000, 16777216, false

-- remove removes the oldest messages, at most count, and returns how many: those
-- that nobody needs, and if drops is set the others, too. It looks at few at a time
-- if they are large.
local function remove(count, drops)
  local list = readers()
  if #list == 0 then
    return redis.call('XTRIM', KEYS[1], 'MAXLEN', math.max(0, redis.call('XLEN', KEYS[1]) - count))
  end
  local to = '+'
  for _, r in ipairs(list) do
    if to == '+' or later(to, r.from) then to = r.from end
  end
  local removed, step = 0, 1
  while removed < count do
    if looks <= 0 or looked <= 0 then
      tired = true
      break
    end
    step = math.min(step, count - removed)
    local entries = redis.call('XRANGE', KEYS[1], '-', drops and '+' or '(' .. to, 'COUNT', step)
    if #entries == 0 then break end
    local size = 0
    for _, entry in ipairs(entries) do
      for _, field in ipairs(entry[2]) do size = size + #field end
    end
    looks, looked = looks - #entries, looked - size
    if drops and not later(to, entries[#entries][1]) then drop(entries, list) end
    removed = removed + redis.call('XTRIM', KEYS[1], 'MAXLEN', redis.call('XLEN', KEYS[1]) - #entries)
    step = size < 262144 and step * 2 or math.max(1, math.floor(step / 4))
    if step > 128 then step = 128 end
  end
  return removed
end

-- tooLarge tells whether there is never room for a message of a size.
local function tooLarge(size) return maxBytes > 0 and size > maxBytes end

-- makeRoom makes room for the first of some messages, given their sizes in bytes,
-- and returns for how many of them there is. If that is none because it is tired,
-- there may be room the next time.
local function makeRoom(sizes)
  local n = #sizes
  if n == 0 or maxMessages == 0 and maxBytes == 0 then return n end
  if tooLarge(sizes[1]) then return 0 end
  if maxMessages > 0 then
    n = math.min(n, maxMessages)
    local over = stored() + n - maxMessages
    if over > 0 then n = n - math.max(0, over - remove(over, config.drop_oldest)) end
  end
  if maxBytes == 0 or n <= 0 then return math.max(0, n) end

  local function used()
    if redis.call('XLEN', KEYS[1]) == 0 then return 0 end -- it takes some room all the same
    return redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 5)
  end
  local wanted = 0
  for i = 1, n do
    if i > 1 and wanted + sizes[i] > maxBytes then
      n = i - 1
      break
    end
    wanted = wanted + sizes[i]
  end
  local bytes = used()
  for _ = 1, 20 do
    local over = bytes + wanted - maxBytes
    if over <= 0 then break end
    local length = redis.call('XLEN', KEYS[1])
    if length == 0 or remove(math.ceil(over / bytes * length), config.drop_oldest) == 0 then break end
    bytes = used()
    if tired then break end
  end
  local fit = 0
  while fit < n and bytes + sizes[fit + 1] <= maxBytes do
    fit = fit + 1
    bytes = bytes + sizes[fit]
  end
  return fit
end

-- sizeOf is about how much room a message takes.
local function sizeOf(fields)
  local size = 32
  for _, field in ipairs(fields) do size = size + #field + 2 end
  return size
end

-- publish adds an entry. It returns its id, or nil and an error.
local function publish(fields)
  local id = redis.pcall('XADD', KEYS[1], '*', unpack(fields))
  if type(id) == 'table' then return nil, id.err end
  return id
end

-- setDue keeps the earliest time at which a delayed message is due. It is written
-- only when it changes, since those who wait are told then.
local function setDue()
  local due = redis.call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')[2]
  if (redis.call('GET', KEYS[8]) or nil) == due then return end
  if due then redis.call('SET', KEYS[8], due) else redis.call('DEL', KEYS[8]) end
end
