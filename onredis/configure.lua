-- configure sets what a topic keeps, and makes the topic if it isn't there.
--
-- KEYS     as in room
-- ARGV     1 the configuration
-- Returns  "ok"

makeTopic()
redis.call('SET', KEYS[4], ARGV[1])
return 'ok'
