-- Shows sessions, or renews them. KEYS: project. ARGV: replica_id, px_ms, 'put' or 'renew', then pairs of session_id and
-- JSON without its expires_at. A renewal leaves a session alone that another replica shows by now: it moved there. What
-- a former stream of a session shows comes late, and changes nothing.
local now = now_ms()
make_room(KEYS[1])
for at = 4, #ARGV, 2 do
  local current = living(redis.call('HGET', KEYS[1], ARGV[at]), now)
  local moved = false
  if current then
    local ahead = stream_epoch(current) - stream_epoch(cjson.decode(ARGV[at + 1]))
    moved = ahead > 0 or ahead == 0 and ARGV[3] == 'renew' and current.replica_id ~= ARGV[1]
  end
  if not moved then
    -- Joined as text: numbers of more than 14 digits do not survive being read and written here.
    local expires_at = string.format('{"expires_at":%.0f,', now + tonumber(ARGV[2]))
    redis.call('HSET', KEYS[1], ARGV[at], expires_at .. string.sub(ARGV[at + 1], 2))
  end
end
-- Nobody else is shown for longer than from now on: all give the same span.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
