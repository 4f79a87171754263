-- index has buried tell of dead letters that were written before it was kept. Of
-- several letters of one message it keeps the newest.
--
-- KEYS     1 dead  2 buried
-- ARGV     1 where to begin, as XRANGE takes it  2 how many to look at
-- Returns  where to go on, empty at the end

local list = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
for _, letter in ipairs(list) do
  local place, fields = letter[1], letter[2]
  local id = #fields >= 8 and fields[#fields - 7] == 'dead:id' and fields[#fields - 6]
  local known = id and redis.call('HGET', KEYS[2], id)
  -- They come in the order in which they died. So one that is known and comes
  -- behind is the newer one, if it is there.
  if not id or known == place then
    -- nothing to do
  elseif known and #redis.call('XRANGE', KEYS[1], '(' .. place, known, 'COUNT', 1) > 0 then
    redis.call('XDEL', KEYS[1], place)
  else
    if known then redis.call('XDEL', KEYS[1], known) end
    redis.call('HSET', KEYS[2], id, place)
  end
end
if #list < tonumber(ARGV[2]) then return '' end
return '(' .. list[#list][1]
