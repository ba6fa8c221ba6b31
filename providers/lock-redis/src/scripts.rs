//! What the server does as one step each.
//!
//! The value of a lock is the secret of its claim, the fence and the owner, with a space between
//! them; the owner comes last, since it is the only one that could have a space in it. All scripts
//! answer with a list of texts. Those that take a lock or let it last may be run twice for one claim:
//! where an answer was lost, the second run says the same. A second [`RELEASE`] says `gone`, since
//! nothing is left that could tell a lock that was given up from one that ended with its time. The
//! lock is free in both cases.

/// Takes a lock that nobody holds. Keys: the lock, the counter of its store. Arguments: the secret,
/// the owner, the time in milliseconds. Answers `got` and the fence, or `held`, the value and what
/// is left of its time.
///
/// The fence does not fall behind the clock of the server in microseconds, so that it grows even if the
/// counter was lost with the rest of the data: no server takes locks faster than that, so the counter
/// does not run ahead of the clock. Lua counts up to 2^53 without a gap, which is the year 2255.
pub(crate) const ACQUIRE: &str = r"
local held = redis.call('GET', KEYS[1])
if held then
  local mine = ARGV[1] .. ' '
  if string.sub(held, 1, #mine) ~= mine then
    return {'held', held, tostring(redis.call('PTTL', KEYS[1]))}
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return {'got', string.match(held, '^%S+ (%d+) ')}
end
local time = redis.call('TIME')
local least = time[1] * 1000000 + time[2]
local fence = redis.call('INCR', KEYS[2])
if fence < least then
  fence = least
  redis.call('SET', KEYS[2], string.format('%.0f', fence))
end
fence = string.format('%.0f', fence)
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. fence .. ' ' .. ARGV[2], 'PX', ARGV[3])
return {'got', fence}
";

/// Lets a lock last. Key: the lock. Arguments: the secret, the owner, the time. Answers `got` and
/// the fence, or `gone`.
pub(crate) const RENEW: &str = r"
local held = redis.call('GET', KEYS[1])
if held then
  local secret, fence, owner = string.match(held, '^(%S+) (%d+) (.*)$')
  if secret == ARGV[1] and owner == ARGV[2] then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {'got', fence}
  end
end
return {'gone'}
";

/// Gives a lock up and tells those who wait. Key: the lock. Arguments: the secret, the owner.
/// Answers `done` or `gone`; run again after an answer that was lost, it says `gone`.
pub(crate) const RELEASE: &str = r"
local held = redis.call('GET', KEYS[1])
if held then
  local secret, fence, owner = string.match(held, '^(%S+) (%d+) (.*)$')
  if secret == ARGV[1] and owner == ARGV[2] then
    redis.call('DEL', KEYS[1])
    redis.call('PUBLISH', KEYS[1], '')
    return {'done'}
  end
end
return {'gone'}
";

/// Who holds a lock. Key: the lock. Answers `held`, the value and what is left of its time, or
/// `gone`.
pub(crate) const INSPECT: &str = r"
local held = redis.call('GET', KEYS[1])
if held then
  return {'held', held, tostring(redis.call('PTTL', KEYS[1]))}
end
return {'gone'}
";
