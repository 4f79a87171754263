-- shards_mark prolongs a move, or decides that the topic has moved. After that there is
-- no way back.
--
-- KEYS     1 stream  2 schedules
-- ARGV     1 token of the move  2 "renew" or "moved"  3 for how long to prolong, in ms
-- Returns  1, or 0 if the move is not under way any more

if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return 0 end
local mark = cjson.decode(redis.call('GET', KEYS[1]))
if mark.token ~= ARGV[1] then return 0 end
if mark.state == 'moved' then return ARGV[2] == 'moved' and 1 or 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if mark.ends <= now then return 0 end
-- When its memory is full, Redis refuses a script what takes memory, unless the script
-- has written something before. This changes nothing, and what follows makes room.
redis.call('PERSIST', KEYS[1])
mark.ends = now + ARGV[3]
if ARGV[2] == 'moved' then mark.state, mark.ends = 'moved', nil end
local text = cjson.encode(mark)
redis.call('SET', KEYS[1], text)
redis.call('SET', KEYS[2], text)
return 1
