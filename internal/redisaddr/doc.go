// Package redisaddr reads the address of a Redis deployment, of whichever kind:
//
//	redis://user:password@host:6379/0              one Redis
//	redis+unix:///path/to.sock?db=0                one Redis, by its socket
//	redis+sentinel://user:password@h1,h2,h3/name/0 whichever Redis the sentinels call primary of name
//	redis+cluster://h1,h2,h3                       a cluster, by some of its nodes
//	redis+shards://h1,h2,h3/0                      several Redis that don't know each other
//
// With rediss instead of redis all connections are over TLS. Options follow as a
// query; docs/redis.md tells them all. Files and environment variables that hold
// secrets are read with the address.
//
// What is wrong with an address is said without repeating anything that may be a
// secret: whoever forgot to encode a character of a password has it spread over
// all parts of the address. For the same reason nothing here prints an Address
// but by the parts that are public.
package redisaddr
