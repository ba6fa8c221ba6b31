//! Pages of keys.
//!
//! Keys are sorted by their place, a number such as that of their first write or a hash, and a page
//! is the first keys after the place where the page before it ended. Nothing has to be remembered
//! between pages, and a key does not move when it is written.

use super::KeysPage;

/// The most keys of a page. Many components never ask for a second one.
pub const MOST_KEYS: u32 = 10_000;
/// The most bytes of all keys of a page together; an answer with them still is one message.
pub const MOST_BYTES: usize = 512 * 1024;

/// Collects the keys of one page, which are offered in the order of their places.
#[derive(Debug, Default)]
pub struct Page {
    keys: Vec<String>,
    bytes: usize,
    /// The place of the last key.
    last: Option<u64>,
    /// Whether there was one more.
    more: bool,
}

impl Page {
    /// Takes a key in, or tells that the page is full.
    pub fn offer(&mut self, place: u64, key: &str) -> bool {
        let full =
            self.keys.len() as u64 >= u64::from(MOST_KEYS) || self.bytes + key.len() > MOST_BYTES;
        // Keys of the same place are on the same page, or the next one would miss them.
        if full && !self.keys.is_empty() && self.last != Some(place) {
            self.more = true;
            return false;
        }
        self.bytes += key.len();
        self.last = Some(place);
        self.keys.push(key.to_owned());
        true
    }

    /// The page, with the place of its last key as cursor when there are more.
    #[must_use]
    pub fn finish(self) -> KeysPage {
        KeysPage {
            cursor: self.last.filter(|_| self.more),
            keys: self.keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'a>(keys: impl IntoIterator<Item = (u64, &'a str)>) -> KeysPage {
        let mut page = Page::default();
        let _all = keys.into_iter().all(|(place, key)| page.offer(place, key));
        page.finish()
    }

    #[test]
    fn a_full_page_tells_where_the_next_one_begins() {
        let full = page((0..20_000).map(|place| (place, "key")));
        assert_eq!(full.keys.len(), 10_000);
        assert_eq!(full.cursor, Some(9_999));
        assert_eq!(page((0..10_000).map(|place| (place, "key"))).cursor, None);
    }

    #[test]
    fn keys_of_the_same_place_are_on_the_same_page() {
        let places = (0..9_999).chain([9_999; 5]).chain([10_000]);
        let full = page(places.map(|place| (place, "key")));
        assert_eq!(full.keys.len(), 10_004);
        assert_eq!(full.cursor, Some(9_999));
    }

    #[test]
    fn long_keys_make_short_pages() {
        let key = "k".repeat(1000);
        assert_eq!(page((0..1000).map(|at| (at, &*key))).keys.len(), 524);
        let longer = "k".repeat(MOST_BYTES + 1);
        assert_eq!(page((0..2).map(|at| (at, &*longer))).cursor, Some(0));
    }

    #[test]
    fn no_keys_are_one_empty_page() {
        let KeysPage { keys, cursor } = page([]);
        assert!(keys.is_empty() && cursor.is_none());
    }
}
