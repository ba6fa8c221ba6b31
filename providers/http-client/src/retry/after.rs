//! What a server asks for before the next attempt.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// How long a server asks to wait, if it does so in seconds.
pub(crate) fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
