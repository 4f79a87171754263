-- due moves delayed messages that are due into their topic, as far as its bounds
-- allow.
--
-- KEYS     as in room
-- ARGV     1 how many to move at most
-- Returns  {how many were moved,
--           ms until the next one is due, 0 if one is now, -1 if there is none,
--           "ok", "full", "again" if it is to be tried again, or an error}

local max, moved, answer = tonumber(ARGV[1]), 0, 'ok'
-- It reads some at a time, few while they are large, and ends behind so many bytes:
-- then more is due at once.
local portion, bytes = 4, 4194304
-- Those that the topic can't take since its bound was lowered keep out no others, as
-- long as they are few.
local passed, mostPassed = 0, 64

local function move(ids)
  local list, sizes, gone, size = {}, {}, {}, 0
  for i, packed in ipairs(redis.call('HMGET', KEYS[7], unpack(ids))) do
    if packed then
      size = size + #packed
      local fields = cmsgpack.unpack(packed)
      fields[#fields + 1] = 'header:beck-delayed-id'
      fields[#fields + 1] = ids[i]
      if tooLarge(sizeOf(fields)) then
        passed = passed + 1
      else
        list[#list + 1] = {id = ids[i], fields = fields}
        sizes[#sizes + 1] = sizeOf(fields)
      end
    else
      gone[#gone + 1] = ids[i] -- someone else removed it
    end
  end
  local over, room = {}, makeRoom(sizes)
  for i, m in ipairs(list) do
    if i > room then
      if room == 0 then answer = tired and 'again' or 'full' end
      break
    end
    local _, failed = publish(m.fields)
    if failed then
      answer = failed
      break
    end
    gone[#gone + 1] = m.id
    over[#over + 1] = m.id
    over[#over + 1] = m.id .. ' once'
    moved = moved + 1
  end
  if #gone > 0 then redis.call('ZREM', KEYS[6], unpack(gone)) end
  if #over > 0 then redis.call('HDEL', KEYS[7], unpack(over)) end
  bytes = bytes - size
  portion = size < 131072 and math.min(2 * portion, 64) or math.max(1, math.floor(portion / 4))
end

while moved < max and bytes > 0 and answer == 'ok' and not tired and passed < mostPassed do
  local count = math.min(portion, max - moved)
  local ids = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', passed, count)
  if #ids == 0 then break end
  makeTopic() -- not for nothing: it may just have been deleted
  move(ids)
  if #ids < count then break end
end
if passed > 0 and moved == 0 and answer == 'ok' then answer = 'full' end
setDue()
local left, due = -1, redis.call('GET', KEYS[8])
if due then left = math.max(0, tonumber(due) - now) end
return {moved, left, answer}
