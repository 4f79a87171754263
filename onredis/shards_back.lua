-- shards_back puts a topic back into use whose move was given up, or has taken longer
-- than it may.
--
-- KEYS     1 stream  2 schedules  3 the note of what is on its way, then for each key
--          of the topic two: itself, and what it is called while it is on its way
-- ARGV     1 token of the move  2 "own" if the mover itself gives up, or ""
-- Returns  "back", or "no" if it is not to be put back, or is back already

if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 'no' end
local mark = cjson.decode(redis.call('GET', KEYS[1]))
if mark.token ~= ARGV[1] or mark.state ~= 'moving' then return 'no' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= 'own' and now < mark.ends then return 'no' end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
for i = 4, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i + 1]) == 1 then redis.call('RENAME', KEYS[i + 1], KEYS[i]) end
end
return 'back'
