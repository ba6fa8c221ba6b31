//! Pages of keys.
//!
//! NATS lists the keys of a bucket from the first to the last and cannot begin in the middle, and a
//! key that is written moves to the end. So keys are sorted by their place, a hash of the key, and
//! a page is the first keys after the place where the page before it ended. Nothing has to be
//! remembered between pages, and any process of this provider can answer the next one.

use std::collections::BTreeSet;

use lattice_provider_sdk::keyvalue::KeysPage;
use sha2::{Digest as _, Sha256};

/// The most keys of a page. Many components never ask for a second one.
const MOST_KEYS: usize = 10_000;
/// The most bytes of all keys of a page together; an answer with them still is one message.
const MOST_BYTES: usize = 512 * 1024;

/// Collects the keys of one page out of all keys.
#[derive(Debug)]
pub(crate) struct Page {
    after: Option<u64>,
    kept: BTreeSet<(u64, String)>,
    bytes: usize,
    /// The first place that did not fit.
    cut: Option<u64>,
}

impl Page {
    /// The page that begins after the place `cursor`.
    pub(crate) fn after(cursor: Option<u64>) -> Self {
        Self {
            after: cursor,
            kept: BTreeSet::new(),
            bytes: 0,
            cut: None,
        }
    }

    /// Takes a key in if it belongs to the page.
    pub(crate) fn offer(&mut self, key: String) {
        let place = place(&key);
        if self.after.is_some_and(|after| place <= after)
            || self.cut.is_some_and(|cut| place >= cut)
        {
            return;
        }
        let bytes = key.len();
        if self.kept.insert((place, key)) {
            self.bytes += bytes;
        }
        while self.kept.len() > MOST_KEYS || (self.bytes > MOST_BYTES && self.kept.len() > 1) {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) {
        if let Some((place, key)) = self.kept.pop_last() {
            self.bytes -= key.len();
            self.cut = Some(place);
        }
        // Keys of the same place are on the same page, or the next one would miss them.
        while self.kept.last().map(|(place, _)| *place) == self.cut {
            let Some((_, key)) = self.kept.pop_last() else {
                return;
            };
            self.bytes -= key.len();
        }
    }

    pub(crate) fn finish(self) -> KeysPage {
        let last = self.kept.last().map(|(place, _)| *place);
        KeysPage {
            cursor: self.cut.and(last),
            keys: self.kept.into_iter().map(|(_, key)| key).collect(),
        }
    }
}

/// Where a key stands among all keys: the first bytes of a digest, the same in every process.
fn place(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    let (first, _) = digest.split_at(8);
    first
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(keys: &[String]) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let mut page = Page::after(cursor);
            keys.iter().for_each(|key| page.offer(key.clone()));
            let page = page.finish();
            pages.push(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn every_key_is_on_one_page() {
        let keys: Vec<String> = (0..25_000).map(|n| format!("key-{n}")).collect();
        let pages = pages(&keys);
        let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [10_000, 10_000, 5_000]);
        let mut all: Vec<String> = pages.concat();
        all.sort_unstable();
        let mut expected = keys;
        expected.sort_unstable();
        assert_eq!(all, expected);
    }

    #[test]
    fn long_keys_make_short_pages() {
        let keys: Vec<String> = (0..1000).map(|n| format!("{n:01000}")).collect();
        let pages = pages(&keys);
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[0].len(), 524);
    }

    #[test]
    fn a_key_seen_twice_is_listed_once() {
        let keys = ["a".to_owned(), "a".to_owned()];
        assert_eq!(pages(&keys), [["a".to_owned()]]);
    }

    #[test]
    fn no_keys_are_one_empty_page() {
        assert_eq!(pages(&[]), [Vec::<String>::new()]);
    }
}
