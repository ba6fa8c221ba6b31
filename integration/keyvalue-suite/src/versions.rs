//! The cases of `lattice:keyvalue@0.1.0`, each a test of every provider.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use lattice_provider_sdk::keyvalue::{KeyValueError, Outcome};
use tokio::time::Instant;

use crate::{Component, PATIENCE, Setup};

const BUCKET: &str = "default";

/// Somebody who read before another one wrote is told what was written.
pub async fn a_stale_swap_gives_what_is_there(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.set(BUCKET, "a", "one").await, Ok(()));
    let read = kv.read(BUCKET, "a").await.expect("a value");
    assert_eq!(read.value, Some("one".into()));
    assert_eq!(kv.set(BUCKET, "a", "two").await, Ok(()));
    let swapped = kv.swap(BUCKET, "a", &read.version, "three").await;
    let Ok(Outcome::Stale(now)) = swapped else {
        panic!("{swapped:?}");
    };
    assert_eq!(now.value, Some("two".into()));
    assert_eq!(kv.get(BUCKET, "a").await, Ok(Some("two".into())));
    let swapped = kv.swap(BUCKET, "a", &now.version, "three").await;
    assert_eq!(swapped, Ok(Outcome::Swapped));
    assert_eq!(kv.delete(BUCKET, "a").await, Ok(()));
    let swapped = kv.swap(BUCKET, "a", &now.version, "four").await;
    let Ok(Outcome::Stale(now)) = swapped else {
        panic!("{swapped:?}");
    };
    assert_eq!(now.value, None);
    assert_eq!(kv.exists(BUCKET, "a").await, Ok(false));
}

/// Reading changes nothing, and a swap is a write like another.
pub async fn a_swap_of_what_was_read_is_made(setup: &Setup) {
    let kv = &setup.component;
    for value in ["", "one", "12"] {
        let first = kv.read(BUCKET, "a").await.expect("a value");
        assert_eq!(kv.read(BUCKET, "a").await, Ok(first.clone()));
        let swapped = kv.swap(BUCKET, "a", &first.version, value).await;
        assert_eq!(swapped, Ok(Outcome::Swapped), "{value:?}");
        assert_eq!(kv.get(BUCKET, "a").await, Ok(Some(value.into())));
        let next = kv.read(BUCKET, "a").await.expect("a value");
        assert_ne!(next.version, first.version);
    }
    assert_eq!(kv.increment(BUCKET, "a", 1).await, Ok(13));
    // What is no version was never read.
    let nonsense = kv.swap(BUCKET, "a", "no version", "x").await;
    assert!(
        matches!(
            nonsense,
            Ok(Outcome::Stale(_)) | Err(KeyValueError::Other(_))
        ),
        "{nonsense:?}"
    );
    assert_eq!(kv.get(BUCKET, "a").await, Ok(Some("13".into())));
}

/// Of many who found nothing, one sets the key; it may be deleted and set anew.
pub async fn an_absent_key_is_swapped_in_once(setup: &Setup) {
    let kv = &setup.component;
    for round in 0..2 {
        let absent = kv.read(BUCKET, "once").await.expect("an answer");
        assert_eq!(absent.value, None, "in round {round}");
        let swaps = (0..16).map(|n| {
            let version = &absent.version;
            async move { kv.swap(BUCKET, "once", version, n.to_string()).await }
        });
        let outcomes = join_all(swaps).await;
        let made = outcomes.iter().filter(|o| **o == Ok(Outcome::Swapped));
        assert_eq!(made.count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(kv.delete(BUCKET, "once").await, Ok(()));
    }
}

/// Adds one by reading and swapping until it has worked.
async fn add_one(kv: &Component, key: &str) {
    let mut now = kv.read(BUCKET, key).await.expect("an answer");
    loop {
        let number = now.value.as_ref().map_or(0, |value| {
            let text = std::str::from_utf8(value).expect("a text");
            text.parse::<u64>().expect("a number")
        });
        let next = (number + 1).to_string();
        match kv.swap(BUCKET, key, &now.version, next).await {
            Ok(Outcome::Swapped) => return,
            Ok(Outcome::Stale(newer)) => now = newer,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Sixty-four who read and swap make sixty-four.
pub async fn swaps_at_the_same_time_lose_nothing(setup: &Setup) {
    let kv = &setup.component;
    let all = join_all((0..64).map(|_| add_one(kv, "n")));
    tokio::time::timeout(PATIENCE, all).await.expect("an end");
    assert_eq!(kv.get(BUCKET, "n").await, Ok(Some("64".into())));
}

/// Signed numbers end at their own ends.
pub async fn numbers_go_below_zero(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.add(BUCKET, "n", -5).await, Ok(-5));
    assert_eq!(kv.add(BUCKET, "n", 7).await, Ok(2));
    assert_eq!(kv.add(BUCKET, "n", 0).await, Ok(2));
    for (start, delta) in [(i64::MAX, 1), (i64::MIN, -1)] {
        let text = start.to_string();
        assert_eq!(kv.set(BUCKET, "end", text.clone()).await, Ok(()));
        let beyond = kv.add(BUCKET, "end", delta).await;
        let Err(KeyValueError::Other(why)) = beyond else {
            panic!("{start} and {delta} are {beyond:?}");
        };
        assert!(why.contains("`end`"), "{why}");
        assert_eq!(kv.get(BUCKET, "end").await, Ok(Some(text.into())));
    }
    let counts = (0..64).map(|n| kv.add(BUCKET, "both", if n % 2 == 0 { 3 } else { -1 }));
    assert!(join_all(counts).await.iter().all(Result::is_ok));
    assert_eq!(kv.add(BUCKET, "both", 0).await, Ok(64));
}

/// A number is the same for those who count with a sign and without.
pub async fn both_drafts_count_the_same_numbers(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.increment(BUCKET, "n", 5).await, Ok(5));
    assert_eq!(kv.add(BUCKET, "n", -3).await, Ok(2));
    assert_eq!(kv.increment(BUCKET, "n", 1).await, Ok(3));
    assert_eq!(kv.get(BUCKET, "n").await, Ok(Some("3".into())));
    assert_eq!(kv.add(BUCKET, "n", -10).await, Ok(-7));
    assert_eq!(kv.get(BUCKET, "n").await, Ok(Some("-7".into())));
    // A sum below zero is nothing for those without a sign, and is not made.
    for delta in [0, 1, 6] {
        let without = kv.increment(BUCKET, "n", delta).await;
        assert!(matches!(without, Err(KeyValueError::Other(_))));
        assert_eq!(kv.get(BUCKET, "n").await, Ok(Some("-7".into())));
    }
    assert_eq!(kv.increment(BUCKET, "n", 7).await, Ok(0));
    assert_eq!(kv.set(BUCKET, "n", i64::MIN.to_string()).await, Ok(()));
    let most = i64::MAX.unsigned_abs();
    assert!(kv.increment(BUCKET, "n", most).await.is_err());
    assert_eq!(kv.add(BUCKET, "n", i64::MAX).await, Ok(-1));
}

/// Pages by texts show what pages by numbers show; a text that is no cursor is refused by name.
pub async fn cursors_are_texts_too(setup: &Setup) {
    let kv = &setup.component;
    let keys: Vec<String> = (0..12_000).map(|n| format!("key-{n}")).collect();
    for part in keys.chunks(3_000) {
        let entries: Vec<_> = part.iter().map(|k| (k.as_str(), "".into())).collect();
        assert_eq!(kv.set_many(BUCKET, &entries).await, Ok(()));
    }
    let mut seen = HashSet::new();
    let mut cursor = None;
    loop {
        let page = kv.list_keys_by_text(BUCKET, cursor.as_deref()).await;
        let page = page.expect("a page");
        seen.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, keys.into_iter().collect());
    let refused = kv.list_keys_by_text(BUCKET, Some("no cursor")).await;
    let Err(KeyValueError::Other(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("no cursor"), "{why}");
}

/// A key with a time goes by itself, and others stay; a store that cannot do it says so.
pub async fn a_key_goes_after_its_time(setup: &Setup) {
    let kv = &setup.component;
    let ttl = Duration::from_millis(1500);
    let set = kv.set_for(BUCKET, "short", "x", ttl).await;
    if !setup.forgets_keys {
        let Err(KeyValueError::Other(why)) = set else {
            panic!("{set:?}");
        };
        assert!(why.contains("`short`"), "{why}");
        assert_eq!(kv.exists(BUCKET, "short").await, Ok(false));
        return;
    }
    let began = Instant::now();
    assert_eq!(set, Ok(()));
    assert_eq!(kv.set(BUCKET, "long", "y").await, Ok(()));
    assert_eq!(kv.get(BUCKET, "short").await, Ok(Some("x".into())));
    let gone = async {
        while kv.exists(BUCKET, "short").await == Ok(true) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it goes");
    assert!(began.elapsed() > Duration::from_millis(900));
    assert_eq!(kv.get(BUCKET, "short").await, Ok(None));
    let page = kv.list_keys(BUCKET, None).await.expect("a page");
    assert_eq!(page.keys, ["long"]);
    let many = kv.get_many(BUCKET, &["short", "long"]).await;
    assert_eq!(many, Ok(vec![None, Some(("long".into(), "y".into()))]));
    // It is as absent as if it had never been: for counting, and for swapping in.
    assert_eq!(kv.increment(BUCKET, "short", 1).await, Ok(1));
    // A key that is set anew without a time stays.
    assert_eq!(kv.set_for(BUCKET, "kept", "x", ttl).await, Ok(()));
    assert_eq!(kv.set(BUCKET, "kept", "y").await, Ok(()));
    tokio::time::sleep(ttl + Duration::from_millis(300)).await;
    assert_eq!(kv.get(BUCKET, "kept").await, Ok(Some("y".into())));
}
