//! Numbers that several may add to.

use std::sync::LazyLock;

use lattice_provider_sdk::keyvalue::KeyValueError;
use lattice_provider_sdk::keyvalue::decimal::{Addend, NotCounted};

use crate::connection::{AskError, Connection};
use crate::script::Script;

/// The largest number: Redis adds with a sign.
pub(crate) const LARGEST: i64 = i64::MAX;

/// Adds ARGV[1] to a key, whose time is ARGV[3] milliseconds from then on unless that is empty, and
/// answers with the sum. Where ARGV[2] is `unsigned`, a sum below zero is not made, and the answer is
/// nothing. Lua's own numbers are too short to compare these, and texts of one length compare alike.
static INCREMENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local now = redis.pcall('GET', KEYS[1])
if type(now) == 'table' then
  return now
end
if now and ARGV[2] == 'unsigned' then
  local below = string.match(now, '^-([1-9]%d*)$')
  if below and (#below > #ARGV[1] or #below == #ARGV[1] and below > ARGV[1]) then
    return false
  end
end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then
  return sum
end
if ARGV[3] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
if sum > -9007199254740992 and sum < 9007199254740992 then
  return sum
end
return redis.call('GET', KEYS[1])
",
    )
});

/// Why a number was not added to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Redis has no such numbers.
    #[error("Redis cannot add {0}: it counts to {LARGEST}")]
    Delta(i128),
    /// The caller could not take the sum.
    #[error("the value of `{key}` {why}")]
    Range {
        /// The key.
        key: String,
        /// Why not.
        why: NotCounted,
    },
    /// The server refuses, or is not there.
    #[error("could not increment `{key}`: {source}")]
    Ask {
        /// The key.
        key: String,
        /// Why.
        source: AskError,
    },
}

impl From<Failure> for KeyValueError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Ask { source, .. } if source.is_refusal() => source.into(),
            other => Self::other(other.to_string()),
        }
    }
}

/// Adds to the number of `key`, which is kept as `stored`, for as many milliseconds as `ttl` says.
pub(crate) async fn increment(
    connection: &Connection,
    key: &str,
    stored: &str,
    by: Addend,
    ttl: Option<u64>,
) -> Result<i128, Failure> {
    let delta = i64::try_from(by.delta).map_err(|_| Failure::Delta(by.delta))?;
    let sign = match *by.range().start() {
        0 => "unsigned",
        _ => "signed",
    };
    let ttl = ttl.map(|millis| millis.to_string()).unwrap_or_default();
    let sum = INCREMENT.run(connection, |command| {
        command.arg(1).arg(stored).arg(delta).arg(sign).arg(&ttl);
    });
    let key = || key.to_owned();
    let sum: Option<i64> = sum
        .await
        .map_err(|source| Failure::Ask { key: key(), source })?;
    sum.map(i128::from).ok_or_else(|| Failure::Range {
        key: key(),
        why: NotCounted::Underflow,
    })
}
