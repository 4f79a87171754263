-- owners counts the retries that consumers hold.
--
-- KEYS     1 leased  2 retry
-- Returns  {consumer, count, …}, for the first ten thousand

local counts, list = {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, 9999)) do
  local state = redis.call('HGET', KEYS[2], id .. ' state')
  local owner = state and cjson.decode(state).owner
  if owner then counts[owner] = (counts[owner] or 0) + 1 end
end
for owner, count in pairs(counts) do
  list[#list + 1] = owner
  list[#list + 1] = count
end
return list
