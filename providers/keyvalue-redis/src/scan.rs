//! Pages of keys.

use std::collections::HashSet;

use lattice_provider_sdk::keyvalue::KeysPage;

use crate::connection::{AskError, Connection};
use crate::namespace::Namespace;

/// How many keys the server looks at for one answer. Small enough not to hold up others.
const STEP: usize = 1000;
/// How often it is asked for one page. A page may be empty when the keys of a bucket are few
/// among many.
const STEPS: usize = 100;
/// When a page is full. Many components never ask for a second one.
const ENOUGH_KEYS: usize = 10_000;
/// When a page is full by the length of its keys; an answer with them still is one message.
const ENOUGH_BYTES: usize = 512 * 1024;

/// The keys of a bucket from where `cursor` says on.
pub(crate) async fn page(
    connection: &Connection,
    keys: &Namespace,
    cursor: Option<u64>,
) -> Result<KeysPage, AskError> {
    let pattern = keys.pattern();
    let mut cursor = cursor.unwrap_or(0);
    let mut found = HashSet::new();
    let mut bytes = 0;
    for _ in 0..STEPS {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor);
        if let Some(pattern) = &pattern {
            command.arg("MATCH").arg(pattern);
        }
        command.arg("COUNT").arg(STEP);
        let (next, stored): (u64, Vec<Vec<u8>>) = connection.ask(&command).await?;
        for stored in &stored {
            // Keys that are no text belong to others.
            let Some(key) = std::str::from_utf8(stored).ok().and_then(|s| keys.key(s)) else {
                continue;
            };
            if found.insert(key.to_owned()) {
                bytes += key.len();
            }
        }
        cursor = next;
        if cursor == 0 || found.len() >= ENOUGH_KEYS || bytes >= ENOUGH_BYTES {
            break;
        }
    }
    Ok(KeysPage {
        keys: found.into_iter().collect(),
        // The server ends with zero.
        cursor: (cursor != 0).then_some(cursor),
    })
}
