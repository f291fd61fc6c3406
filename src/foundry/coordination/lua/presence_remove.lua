-- Takes a session away, whoever showed it. KEYS: project. ARGV: session_id.
make_room(KEYS[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
