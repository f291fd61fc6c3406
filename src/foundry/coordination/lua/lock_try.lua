-- Claims a field before the database is asked. KEYS: lock. ARGV: user_id, session_id, replica_id, px_ms.
-- Returns {1 if it is claimed or was granted to this session, 1 if something unreadable was replaced}.
local current, unreadable = shown(KEYS[1])
if current and current.session_id ~= ARGV[2] then return {0, 0} end
if current and current.fence > 0 then return {1, 0} end
show(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 0)
return {1, unreadable}
