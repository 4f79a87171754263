-- due moves delayed messages that are due into their topic, as far as its bounds
-- allow.
--
-- KEYS     as in room
-- ARGV     1 how many to move at most
-- Returns  {how many were moved,
--           ms until the next one is due, 0 if one is now, -1 if there is none,
--           "ok", "full" or an error}

-- One portion is what is read at a time.
local max, moved, answer = tonumber(ARGV[1]), 0, 'ok'
local portion, bytes = 50, 1048576

local function move(ids)
  local list, sizes, size = {}, {}, 0
  for _, id in ipairs(ids) do
    local packed = redis.call('HGET', KEYS[7], id)
    if packed then
      size = size + #packed
      if #list > 0 and size > bytes then break end
      local fields = cmsgpack.unpack(packed)
      fields[#fields + 1] = 'header:beck-delayed-id'
      fields[#fields + 1] = id
      list[#list + 1] = {id = id, fields = fields}
      sizes[#sizes + 1] = sizeOf(fields)
    else
      redis.call('ZREM', KEYS[6], id) -- someone else removed it
    end
  end
  local room = makeRoom(sizes)
  for i, m in ipairs(list) do
    if i > room then
      if room == 0 then answer = 'full' end
      return
    end
    local _, failed = publish(m.fields)
    if failed then
      answer = failed
      return
    end
    redis.call('ZREM', KEYS[6], m.id)
    redis.call('HDEL', KEYS[7], m.id, m.id .. ' once')
    moved = moved + 1
  end
end

while moved < max and answer == 'ok' do
  local ids = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', now, 'LIMIT', 0, math.min(portion, max - moved))
  if #ids == 0 then break end
  makeTopic() -- not for nothing: it may just have been deleted
  move(ids)
end
setDue()
local left, due = -1, redis.call('GET', KEYS[8])
if due then left = math.max(0, tonumber(due) - now) end
return {moved, left, answer}
