//! Writes that depend on what was read.
//!
//! Redis keeps no versions, so the version of a key is a digest of its value, which the server makes
//! of what it holds. It sees whoever writes, by whichever program; a value that was changed and
//! changed back is as it was.

use std::sync::LazyLock;

use bytes::Bytes;
use lattice_provider_sdk::keyvalue::{Outcome, Versioned};

use crate::connection::{AskError, Connection};
use crate::script::Script;

/// The version of what is not there.
const ABSENT: &str = "absent";

/// Answers with the value of a key and its version, or nothing.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
local now = redis.call('GET', KEYS[1])
return now and {now, redis.sha1hex(now)}
",
    )
});

/// Writes a key that has the version ARGV[1], for a time of ARGV[3] milliseconds unless that is
/// empty, and answers with nothing; else with what the key holds.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "
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
",
    )
});

/// The value of a key with its version.
pub(crate) async fn read(connection: &Connection, stored: &str) -> Result<Versioned, AskError> {
    let answer = READ.run(connection, |command| {
        command.arg(1).arg(stored);
    });
    let answer: Option<(Bytes, String)> = answer.await?;
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
    let ttl = ttl.map(|millis| millis.to_string()).unwrap_or_default();
    let answer = SWAP.run(connection, |command| {
        command.arg(1).arg(stored).arg(version);
        command.arg(&value[..]).arg(&ttl);
    });
    let answer: Option<(String, Option<Bytes>)> = answer.await?;
    Ok(match answer {
        None => Outcome::Swapped,
        Some((version, value)) => Outcome::Stale(Versioned { value, version }),
    })
}
