-- Forgets a grant of this fence or older, with fence 0 a claim. KEYS: lock. ARGV: session_id, fence.
-- Returns {1 if it was forgotten, 1 if something unreadable was removed}.
local current, unreadable = shown(KEYS[1])
if unreadable == 1 then
  redis.call('DEL', KEYS[1])
  return {0, 1}
end
if not current or current.session_id ~= ARGV[1] or current.fence > tonumber(ARGV[2]) then return {0, 0} end
return {redis.call('DEL', KEYS[1]), 0}
