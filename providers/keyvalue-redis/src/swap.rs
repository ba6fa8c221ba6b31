//! Writes that depend on what was read.
//!
//! Redis keeps no versions, so the version of a key is a digest of its value, which the server makes
//! of what it holds. It sees whoever writes, by whichever program; a value that was changed and
//! changed back is as it was.

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::{Outcome, Versioned};
use redis::cmd;

use crate::connection::{AskError, Connection};

/// The version of what is not there.
const ABSENT: &str = "absent";

/// Answers with the value of a key and its version, or nothing.
const READ: &str = "
local now = redis.call('GET', KEYS[1])
return now and {now, redis.sha1hex(now)}
";

/// Writes a key that has the version ARGV[1], for a time of ARGV[3] milliseconds unless that is
/// empty, and answers with nothing; else with what the key holds.
const SWAP: &str = "
local now = redis.call('GET', KEYS[1])
local version = now and redis.sha1hex(now) or 'absent'
if version ~= ARGV[1] then
  return {version, now}
end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return false
";

/// The value of a key with its version.
pub(crate) async fn read(connection: &Connection, stored: &str) -> Result<Versioned, AskError> {
    let mut command = cmd("EVAL");
    command.arg(READ).arg(1).arg(stored);
    let answer: Option<(Bytes, String)> = connection.ask(&command).await?;
    Ok(match answer {
        Some((value, version)) => Versioned {
            value: Some(value),
            version,
        },
        None => Versioned {
            value: None,
            version: ABSENT.to_owned(),
        },
    })
}

/// Writes a key if it still has a version.
pub(crate) async fn swap(
    connection: &Connection,
    stored: &str,
    version: &str,
    value: &Bytes,
    ttl: Option<u64>,
) -> Result<Outcome, AskError> {
    let mut command = cmd("EVAL");
    command.arg(SWAP).arg(1).arg(stored).arg(version);
    command.arg(&value[..]);
    command.arg(ttl.map(|millis| millis.to_string()).unwrap_or_default());
    let answer: Option<(String, Option<Bytes>)> = connection.ask(&command).await?;
    Ok(match answer {
        None => Outcome::Swapped,
        Some((version, value)) => Outcome::Stale(Versioned { value, version }),
    })
}
