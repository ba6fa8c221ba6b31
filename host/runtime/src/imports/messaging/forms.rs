//! Links whose target speaks `wasmcloud:messaging@0.2.0` only, as providers of 1.x do.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long it is believed: the link may be put anew, or the provider updated.
const BELIEVED: Duration = Duration::from_secs(30);

/// How many links are remembered. A component chooses the names that it asks for.
const MOST: usize = 64;

/// A link by its package and its name.
type Link = (&'static str, String);

/// The links of one component of which it is known for a while.
#[derive(Debug, Default)]
pub(crate) struct PlainLinks(Mutex<Vec<(Link, Instant)>>);

impl PlainLinks {
    /// Whether the target of a link was found to be such a one lately.
    pub(super) fn has(&self, package: &str, name: &str) -> bool {
        let now = Instant::now();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = known.iter();
        all.any(|((of, called), until)| *of == package && called == name && *until > now)
    }

    /// Remembers one.
    pub(super) fn put(&self, package: &'static str, name: &str) {
        let now = Instant::now();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|((of, called), until)| *until > now && (*of, &**called) != (package, name));
        if known.len() < MOST {
            known.push(((package, name.to_owned()), now + BELIEVED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_link_is_known_for_a_while() {
        let links = PlainLinks::default();
        links.put("a:b", "default");
        assert!(links.has("a:b", "default"));
        assert!(!links.has("a:b", "other") && !links.has("a:c", "default"));
        tokio::time::advance(BELIEVED).await;
        assert!(!links.has("a:b", "default"));
        for number in 0..2 * MOST {
            links.put("a:b", &number.to_string());
        }
        assert!(links.has("a:b", "0") && !links.has("a:b", &MOST.to_string()));
    }
}
