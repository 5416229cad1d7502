"""What ``RedisStore`` does in one step, in Lua.

Every key that a script touches is passed to it, and all lie in one hash slot. A record
is a hash of ``value``, ``version``, ``expires_at``, and ``owner`` if it has one. An
owner's records stand in a sorted set by their end; what is gone may stand there for a
while longer.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the digest by which a server knows it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


# Versions are microseconds of the server's clock, and always higher than the last one:
# not even a flush, an eviction or a failover gives out one that was there before.
SAVE = Script("""
local record, versions, owned = KEYS[1], KEYS[2], KEYS[3]
local now, ends, ttl_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local condition, value, key, owner, margin_s = unpack(ARGV, 4)

local found = redis.call('HMGET', record, 'version', 'expires_at')
local current = '0'
if found[1] and tonumber(found[2]) > now then current = found[1] end
if condition ~= '' and condition ~= current then return false end

local time = redis.call('TIME')
local last = tonumber(redis.call('GET', versions) or 0)
local version = math.max(time[1] * 1000000 + time[2], last + 1)
version = string.format('%.0f', version)
redis.call('SET', versions, version)

redis.call('DEL', record)
if ttl_ms <= 0 then return version end
redis.call('HSET', record, 'value', value, 'version', version, 'expires_at', ARGV[2])
redis.call('PEXPIRE', record, ttl_ms)
if owned then
  redis.call('HSET', record, 'owner', owner)
  redis.call('ZREMRANGEBYSCORE', owned, '-inf', now - margin_s)
  redis.call('ZADD', owned, ARGV[2], key)
  local longest = redis.call('ZREVRANGE', owned, 0, 0, 'WITHSCORES')[2]
  local rest_s = math.min(longest - now, 1000000000) + margin_s
  redis.call('EXPIRE', owned, string.format('%.0f', math.ceil(rest_s)))
end
return version
""")

TAKE = Script("""
local found = redis.call('HMGET', KEYS[1], 'value', 'version', 'expires_at')
redis.call('DEL', KEYS[1])
return found
""")

# Nothing can come between the look at a record and its removal from the list.
KEYS = Script("""
local now, owner = tonumber(ARGV[1]), ARGV[2]
local alive = {}
for number = 2, #KEYS do
  local found = redis.call('HMGET', KEYS[number], 'owner', 'expires_at')
  local key = ARGV[number + 1]
  if found[1] ~= owner then
    redis.call('ZREM', KEYS[1], key)
  elseif tonumber(found[2]) > now then
    alive[#alive + 1] = key
  end
end
return alive
""")

UNLOCK = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
""")
