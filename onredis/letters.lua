-- letters takes dead letters away, and gives them back to their subscription if
-- they are requeued.
--
-- KEYS     1 stream  2 waiting  3 retry  4 dead  5 buried
-- ARGV     1 subscription  2 what to do (requeue, drop), then for each letter two:
--          the id of its message as Redis has it and as beck has it
-- Returns  {1 if there are letters that buried does not tell of, or 0,
--           {the numbers, from 1, of the letters that are not there}}
--
-- It fails with NOGROUP, before it does anything, if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], '') -- as in take: when memory is full, this lets what follows pass
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local delivered = '0-0'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  if group[2] == ARGV[1] then delivered = group[8] end
end

-- comes tells whether the message is delivered anyhow, since a seek went back
-- before it.
local function comes(rid, id)
  if redis.call('HGET', KEYS[3], id .. ' state') then return true end
  if #redis.call('XRANGE', KEYS[1], rid, rid) == 0 then return false end
  return later(rid, delivered) or #redis.call('XPENDING', KEYS[1], ARGV[1], rid, rid, 1) > 0
end

-- message returns the fields of a letter without those that settle added.
local function message(letter)
  local n = #letter - 8
  if n < 0 or letter[n + 1] ~= 'dead:id' then return nil end
  if n == 2 and letter[1] == 'dead:fields' then return cmsgpack.unpack(letter[2]) end
  local fields = {}
  for i = 1, n do fields[i] = letter[i] end
  return fields
end

local missing = {}
for i = 3, #ARGV, 2 do
  local rid, id = ARGV[i], ARGV[i + 1]
  local place = redis.call('HGET', KEYS[5], id)
  local letter = place and redis.call('XRANGE', KEYS[4], place, place)[1]
  local fields = letter and message(letter[2])
  if not fields then
    missing[#missing + 1] = (i - 1) / 2
  else
    if ARGV[2] == 'requeue' and not comes(rid, id) then
      redis.call('HSET', KEYS[3], id, cmsgpack.pack(fields), id .. ' state', cjson.encode({attempt = 0}))
      redis.call('ZADD', KEYS[2], now, id)
    end
    redis.call('XDEL', KEYS[4], place)
  end
  if place then redis.call('HDEL', KEYS[5], id) end
end
local untold = redis.call('XLEN', KEYS[4]) > redis.call('HLEN', KEYS[5])
return {untold and 1 or 0, missing}
