//! Pages of keys.
//!
//! NATS lists the keys of a bucket from the first to the last and cannot begin in the middle, and a
//! key that is written moves to the end. So keys are sorted by their place, a hash of the key, and
//! a page is the first keys after the place where the page before it ended. Any process of this
//! provider can answer the next one: by reading all keys of the bucket.
//!
//! The one that has read them keeps those after the page for a while, and answers the next pages of the
//! same listing from them. What another listing left would not do: a key that was written before this
//! one began may be missing there. So a cursor tells the listing besides the place.

mod kept;

use std::collections::BTreeSet;

use lattice_provider_sdk::keyvalue::KeysPage;
use sha2::{Digest as _, Sha256};

pub(crate) use kept::Listings;

/// The most keys of a page. Many components never ask for a second one.
const MOST_KEYS: usize = 10_000;
/// The most bytes of all keys of a page together; an answer with them still is one message.
const MOST_BYTES: usize = 512 * 1024;
/// How many bits of a cursor tell the listing, below those of the place.
const MARK_BITS: u32 = 24;

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    place: u64,
    /// Which listing it was, in all likelihood.
    mark: u64,
}

impl Cursor {
    fn number(self) -> u64 {
        self.place << MARK_BITS | self.mark
    }
}

impl From<u64> for Cursor {
    fn from(number: u64) -> Self {
        Self {
            place: number >> MARK_BITS,
            mark: number & ((1 << MARK_BITS) - 1),
        }
    }
}

/// How much of a bucket is taken in at once.
#[derive(Debug, Clone, Copy)]
struct Room {
    keys: usize,
    bytes: usize,
}

impl Room {
    const PAGE: Self = Self {
        keys: MOST_KEYS,
        bytes: MOST_BYTES,
    };
}

/// Collects the first keys after a place out of all keys.
#[derive(Debug)]
pub(crate) struct Collector {
    after: Option<u64>,
    room: Room,
    keys: BTreeSet<(u64, String)>,
    bytes: usize,
    /// The first place that did not fit.
    cut: Option<u64>,
}

impl Collector {
    fn new(after: Option<u64>, room: Room) -> Self {
        Self {
            after,
            room,
            keys: BTreeSet::new(),
            bytes: 0,
            cut: None,
        }
    }

    /// Takes a key in if it belongs to the first ones.
    pub(crate) fn offer(&mut self, key: String) {
        let place = place(&key);
        if self.after.is_some_and(|after| place <= after)
            || self.cut.is_some_and(|cut| place >= cut)
        {
            return;
        }
        let bytes = key.len();
        if self.keys.insert((place, key)) {
            self.bytes += bytes;
        }
        while self.keys.len() > self.room.keys
            || (self.bytes > self.room.bytes && self.keys.len() > 1)
        {
            self.drop_last();
        }
    }

    fn drop_last(&mut self) {
        if let Some((place, key)) = self.keys.pop_last() {
            self.bytes -= key.len();
            self.cut = Some(place);
        }
        // Keys of the same place stay together, or the next page would miss them.
        while self.keys.last().map(|(place, _)| *place) == self.cut {
            let Some((_, key)) = self.keys.pop_last() else {
                return;
            };
            self.bytes -= key.len();
        }
    }

    fn finish(self) -> Collected {
        Collected {
            keys: self.keys.into_iter().collect(),
            is_all: self.cut.is_none(),
        }
    }
}

/// Keys in the order of their places.
#[derive(Debug)]
struct Collected {
    keys: Vec<(u64, String)>,
    /// Whether no further ones were there.
    is_all: bool,
}

impl Collected {
    /// The first page of the listing `mark` after a place, and whether there are keys for another.
    /// `None` where the bucket has to be asked.
    fn page(&self, after: Option<u64>, mark: u64) -> Option<(KeysPage, bool)> {
        let from = self
            .keys
            .partition_point(|(place, _)| after.is_some_and(|after| *place <= after));
        let keys = &self.keys[from..];
        if keys.is_empty() && !self.is_all {
            return None;
        }
        let page = &keys[..whole_page(keys)];
        let has_more = page.len() < keys.len();
        let last = page.last().filter(|_| has_more || !self.is_all);
        let cursor = last.map(|(place, _)| Cursor {
            place: *place,
            mark,
        });
        let page = KeysPage {
            keys: page.iter().map(|(_, key)| key.clone()).collect(),
            cursor: cursor.map(Cursor::number),
        };
        Some((page, has_more))
    }
}

/// How many of these keys make a page: at least one, and all of one place.
fn whole_page(keys: &[(u64, String)]) -> usize {
    let mut bytes = 0;
    let fits = keys.iter().take(MOST_KEYS).take_while(|(_, key)| {
        bytes += key.len();
        bytes <= MOST_BYTES
    });
    let count = fits.count().max(1).min(keys.len());
    let Some((next, _)) = keys.get(count) else {
        return count;
    };
    let whole = keys[..count].partition_point(|(place, _)| place < next);
    if whole > 0 { whole } else { count }
}

/// Where a key stands among all keys: the first bytes of a digest, the same in every process.
fn place(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    let (first, _) = digest.split_at(8);
    let number = first
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    number >> MARK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(keys: &[String], after: Option<u64>, room: Room) -> Collected {
        let mut collector = Collector::new(after, room);
        keys.iter().for_each(|key| collector.offer(key.clone()));
        collector.finish()
    }

    /// All pages, where each is read anew.
    fn pages(keys: &[String]) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut after = None;
        loop {
            let (page, has_more) = collected(keys, after, Room::PAGE).page(after, 7).unwrap();
            assert!(!has_more, "no more was taken in");
            pages.push(page.keys);
            let Some(cursor) = page.cursor.map(Cursor::from) else {
                return pages;
            };
            assert_eq!(cursor.mark, 7);
            after = Some(cursor.place);
        }
    }

    fn sorted(mut keys: Vec<String>) -> Vec<String> {
        keys.sort_unstable();
        keys
    }

    #[test]
    fn every_key_is_on_one_page() {
        let keys: Vec<String> = (0..25_000).map(|n| format!("key-{n}")).collect();
        let pages = pages(&keys);
        let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [10_000, 10_000, 5_000]);
        assert_eq!(sorted(pages.concat()), sorted(keys));
    }

    #[test]
    fn pages_of_what_was_kept_are_those_of_what_is_read() {
        let keys: Vec<String> = (0..3_000).map(|n| format!("{n:0500}")).collect();
        let read = pages(&keys);
        assert_eq!(read.len(), 3);
        let room = Room {
            keys: usize::MAX,
            bytes: 3 * MOST_BYTES,
        };
        let kept = collected(&keys, None, room);
        let mut after = None;
        for (number, expected) in read.iter().enumerate() {
            let (page, has_more) = kept.page(after, 7).unwrap();
            assert_eq!(page.keys, *expected);
            assert_eq!((page.cursor.is_some(), has_more), (number < 2, number < 2));
            after = page.cursor.map(|cursor| Cursor::from(cursor).place);
        }
    }

    #[test]
    fn what_did_not_fit_is_asked_for() {
        let keys: Vec<String> = (0..25_000).map(|n| format!("key-{n}")).collect();
        let some = collected(&keys, None, Room::PAGE);
        let (page, has_more) = some.page(None, 7).unwrap();
        assert!(!has_more && page.cursor.is_some());
        let last = Cursor::from(page.cursor.unwrap()).place;
        assert!(some.page(Some(last), 7).is_none());
    }

    #[test]
    fn long_keys_make_short_pages() {
        let keys: Vec<String> = (0..1000).map(|n| format!("{n:01000}")).collect();
        let pages = pages(&keys);
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[0].len(), 524);
    }

    #[test]
    fn a_key_that_is_longer_than_a_page_is_one() {
        let keys = ["a".repeat(MOST_BYTES + 1), "b".repeat(MOST_BYTES + 1)];
        assert_eq!(pages(&keys).len(), 2);
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
