-- pause has a subscription deliver nothing, or go on.
--
-- KEYS     1 stream  2 subs
-- ARGV     1 subscription  2 "1" to pause it, "0" to have it go on
-- Returns  1
--
-- It fails with NOGROUP if the group does not exist.

redis.call('XPENDING', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], '') -- as in take: what goes on may make room when memory is full
local config = redis.call('HGET', KEYS[2], ARGV[1])
config = config and cjson.decode(config)
if not config or config.deleted then
  local time = redis.call('TIME') -- a group that another client made
  config = {lease_ms = 30000, created = time[1] * 1000 + math.floor(time[2] / 1000)}
end
config.paused = ARGV[2] == '1' or nil
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(config))
redis.call('PERSIST', KEYS[2])
return 1
