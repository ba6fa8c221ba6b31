//! What listings have read and not told yet.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use lattice_provider_sdk::keyvalue::KeysPage;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::{Collected, Collector, Cursor, MARK_BITS, MOST_BYTES, MOST_KEYS, Room};

/// How many listings are kept, and how many more may be read that are longer than a page.
const MOST: usize = 4;
/// How many pages a listing takes in at once.
const PAGES: usize = 8;
/// For how long the keys of a listing are kept after its last page.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The keys of a listing.
#[derive(Debug)]
struct Kept {
    bucket: String,
    mark: u64,
    keys: Collected,
    until: Instant,
}

/// The listings of one NATS. Each takes some ten mebibytes at most.
#[derive(Debug)]
pub(crate) struct Listings {
    /// Those that were asked for last are at the end.
    kept: Mutex<Vec<Kept>>,
    rooms: Semaphore,
}

impl Default for Listings {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            rooms: Semaphore::new(MOST),
        }
    }
}

/// A listing that begins, or goes on with keys that were not kept.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    all: &'a Listings,
    after: Option<u64>,
    /// For more than a page.
    room: Option<SemaphorePermit<'a>>,
}

impl Listings {
    /// The page after `cursor`, where the keys are kept.
    pub(crate) fn next(&self, bucket: &str, cursor: Cursor) -> Option<KeysPage> {
        self.sweep();
        let mut kept = self.kept.lock();
        let is_it = |kept: &Kept| kept.mark == cursor.mark && kept.bucket == bucket;
        let at = kept.iter().position(is_it)?;
        let mut listing = kept.remove(at);
        let (page, has_more) = listing.keys.page(Some(cursor.place), cursor.mark)?;
        if has_more {
            listing.until = Instant::now() + KEPT_FOR;
            kept.push(listing);
        }
        Some(page)
    }

    /// Begins to read what comes after `cursor`.
    pub(crate) fn read(&self, cursor: Option<Cursor>) -> Reading<'_> {
        Reading {
            all: self,
            after: cursor.map(|cursor| cursor.place),
            // Where many are read at once each takes in no more than it tells.
            room: self.rooms.try_acquire().ok(),
        }
    }

    /// Lets those go that nobody has asked for lately.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.kept.lock().retain(|kept| now < kept.until);
    }

    fn keep(&self, listing: Kept) {
        let mut kept = self.kept.lock();
        if kept.len() >= MOST {
            kept.remove(0);
        }
        kept.push(listing);
    }
}

impl Reading<'_> {
    /// Takes the keys in.
    pub(crate) fn collector(&self) -> Collector {
        let room = match &self.room {
            None => Room::PAGE,
            Some(_) => Room {
                keys: PAGES * MOST_KEYS,
                bytes: PAGES * MOST_BYTES,
            },
        };
        Collector::new(self.after, room)
    }

    /// The first page, when all keys have been offered.
    pub(crate) fn finish(self, bucket: &str, collector: Collector) -> KeysPage {
        let keys = collector.finish();
        let mark = RandomState::new().hash_one(bucket) >> (u64::BITS - MARK_BITS);
        let Some((page, has_more)) = keys.page(None, mark) else {
            return KeysPage {
                keys: Vec::new(),
                cursor: None,
            };
        };
        if has_more {
            self.all.keep(Kept {
                bucket: bucket.to_owned(),
                mark,
                keys,
                until: Instant::now() + KEPT_FOR,
            });
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads keys after `cursor`, all of one bucket.
    fn read(listings: &Listings, cursor: Option<u64>, keys: usize) -> KeysPage {
        let reading = listings.read(cursor.map(Cursor::from));
        let mut collector = reading.collector();
        (0..keys).for_each(|number| collector.offer(format!("key-{number}")));
        reading.finish("b", collector)
    }

    fn next(listings: &Listings, bucket: &str, cursor: u64) -> Option<KeysPage> {
        listings.next(bucket, Cursor::from(cursor))
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_goes_on_with_what_it_has_read_itself() {
        let listings = Listings::default();
        let first = read(&listings, None, 25_000).cursor.unwrap();
        let again = read(&listings, None, 24_000).cursor.unwrap();
        assert!(next(&listings, "c", first).is_none(), "another bucket");
        // Places are the same in all listings; marks are not.
        let second = next(&listings, "b", first).unwrap();
        assert_eq!(second.keys.len(), 10_000);
        let third = next(&listings, "b", second.cursor.unwrap()).unwrap();
        assert_eq!((third.keys.len(), third.cursor), (5_000, None));
        let other = next(&listings, "b", again).unwrap();
        let other = next(&listings, "b", other.cursor.unwrap()).unwrap();
        assert_eq!(other.keys.len(), 4_000);
        assert!(listings.kept.lock().is_empty(), "all was told");
    }

    #[tokio::test(start_paused = true)]
    async fn listings_that_nobody_goes_on_with_are_few_and_go() {
        let listings = Listings::default();
        for _ in 0..10 {
            read(&listings, None, 25_000);
        }
        assert_eq!(listings.kept.lock().len(), MOST);
        tokio::time::advance(KEPT_FOR).await;
        listings.sweep();
        assert!(listings.kept.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_bucket_is_read_once_for_several_pages() {
        let (listings, keys) = (Listings::default(), 200_000);
        let (mut cursor, mut reads, mut seen) = (None, 0, 0);
        loop {
            let known = cursor.and_then(|cursor| next(&listings, "b", cursor));
            let page = known.unwrap_or_else(|| {
                reads += 1;
                read(&listings, cursor, keys)
            });
            seen += page.keys.len();
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((seen, reads), (keys, keys.div_ceil(PAGES * MOST_KEYS)));
    }

    #[test]
    fn where_many_are_read_at_once_each_takes_in_a_page() {
        let listings = Listings::default();
        let _others: Vec<_> = (0..MOST).map(|_| listings.read(None)).collect();
        let page = read(&listings, None, 25_000);
        assert!(page.cursor.is_some());
        assert!(listings.kept.lock().is_empty());
    }
}
