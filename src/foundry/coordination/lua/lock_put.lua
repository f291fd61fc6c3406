-- Shows a grant, or renews it. KEYS: lock. ARGV: user_id, session_id, replica_id, px_ms, fence.
-- Returns {1 if it is shown now, 1 if something unreadable was replaced}.
local fence = tonumber(ARGV[5])
local current, unreadable = shown(KEYS[1])
if current and current.fence > fence then return {0, 0} end
if current and current.fence == fence and current.session_id ~= ARGV[2] then return {0, 0} end
show(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], fence)
return {1, unreadable}
