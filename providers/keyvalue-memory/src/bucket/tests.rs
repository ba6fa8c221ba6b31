//! One bucket, against what it has to be like.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::thread;

use proptest::prelude::*;

use super::*;
use crate::shard::SMALL;
use lattice_provider_sdk::keyvalue::decimal::NotCounted;

const LIMITS: Limits = Limits {
    bucket: 1 << 30,
    value: 1 << 20,
    total: 1 << 30,
};

fn set(bucket: &Bucket, key: &str, value: &[u8], limits: &Limits) -> Result<(), Failure> {
    bucket.set(key, value, None, &writing(limits))
}

fn increment(bucket: &Bucket, key: &str, delta: u64, limits: &Limits) -> Result<i128, Failure> {
    bucket.increment(key, delta.into(), &writing(limits))
}

fn writing(limits: &Limits) -> Writing {
    Writing {
        limits: *limits,
        lifetime: None,
    }
}

fn bucket() -> Bucket {
    Bucket::new("cart", Arc::default())
}

/// What a bucket has to count for what is in it.
fn weight(key: &str, value: &[u8]) -> u64 {
    (KEEPING + key.len() + value.len().max(20)) as u64
}

fn all_keys(bucket: &Bucket) -> Vec<String> {
    let mut keys = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor);
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return keys;
        }
    }
}

#[test]
fn a_full_bucket_refuses_by_name_and_loses_nothing() {
    let bucket = bucket();
    let limits = Limits {
        bucket: weight("a", &[0; 100]),
        ..LIMITS
    };
    set(&bucket, "a", &[1; 100], &limits).unwrap();
    for (key, value) in [("a", [2; 101].as_slice()), ("b", b"")] {
        let why = set(&bucket, key, value, &limits).unwrap_err().to_string();
        let named = ["`cart`", "full", "`max_bytes`", key];
        assert!(named.iter().all(|name| why.contains(name)), "{why}");
    }
    assert!(matches!(
        increment(&bucket, "n", 1, &limits),
        Err(Failure::Full { .. })
    ));
    assert_eq!(bucket.get("a").unwrap(), [1_u8; 100].as_slice());
    assert_eq!(all_keys(&bucket), ["a"]);
    bucket.delete("a");
    assert_eq!(bucket.room.held(), 0);
    set(&bucket, "b", b"x", &limits).unwrap();
}

#[test]
fn all_buckets_together_are_bounded() {
    let total = Arc::new(Room::default());
    let one = Bucket::new("one", Arc::clone(&total));
    let two = Bucket::new("two", Arc::clone(&total));
    let limits = Limits {
        total: weight("a", b""),
        ..LIMITS
    };
    set(&one, "a", b"", &limits).unwrap();
    let why = set(&two, "a", b"", &limits).unwrap_err().to_string();
    assert!(
        why.contains("`two`") && why.contains("`max_total_bytes`"),
        "{why}"
    );
    assert_eq!(two.room.held(), 0);
    one.delete("a");
    assert_eq!(set(&two, "a", b"", &limits), Ok(()));
}

#[test]
fn a_number_grows_in_a_full_bucket() {
    let bucket = bucket();
    let limits = Limits {
        bucket: weight("n", b"9"),
        ..LIMITS
    };
    set(&bucket, "n", b"9", &limits).unwrap();
    assert_eq!(increment(&bucket, "n", 1, &limits), Ok(10));
    assert_eq!(
        increment(&bucket, "n", u64::MAX - 10, &limits),
        Ok(u64::MAX.into())
    );
    assert_eq!(bucket.get("n").unwrap(), u64::MAX.to_string());
    let no_more = NotCounted::Overflow;
    let refused = increment(&bucket, "n", 1, &limits);
    assert!(matches!(refused, Err(Failure::Number { why, .. }) if why == no_more));
    assert_eq!(bucket.room.held(), limits.bucket);
}

#[test]
fn a_bound_that_got_smaller_throws_nothing_out() {
    let bucket = bucket();
    set(&bucket, "a", &[1; 100], &LIMITS).unwrap();
    let limits = Limits {
        bucket: 1,
        ..LIMITS
    };
    assert!(set(&bucket, "a", &[2; 101], &limits).is_err());
    assert_eq!(set(&bucket, "a", &[2; 99], &limits), Ok(()));
    assert_eq!(bucket.get("a").unwrap(), [2_u8; 99].as_slice());
}

#[test]
fn keys_and_values_that_are_too_long_are_refused() {
    let bucket = bucket();
    let key = "k".repeat(LONGEST_KEY);
    assert_eq!(set(&bucket, &key, b"", &LIMITS), Ok(()));
    let longer = key + "k";
    let refused = Err(Failure::Key { bytes: 3_073 });
    assert_eq!(set(&bucket, &longer, b"", &LIMITS), refused);
    assert!(increment(&bucket, &longer, 1, &LIMITS).is_err());
    assert_eq!((bucket.get(&longer), bucket.exists(&longer)), (None, false));
    let limits = Limits { value: 4, ..LIMITS };
    assert_eq!(set(&bucket, "a", b"four", &limits), Ok(()));
    let why = set(&bucket, "a", b"fives", &limits)
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("`a`") && why.contains("`max_value_bytes`"),
        "{why}"
    );
    assert_eq!(bucket.get("a").unwrap(), "four");
}

#[test]
fn a_batch_whose_answer_would_be_endless_is_refused() {
    let bucket = bucket();
    set(&bucket, "a", &[0; 1 << 20], &LIMITS).unwrap();
    let keys = |times| vec!["a".to_owned(); times];
    assert!(bucket.get_many(keys(64)).is_ok());
    assert!(matches!(bucket.get_many(keys(65)), Err(Failure::Answer)));
}

#[test]
fn increments_of_many_threads_all_count() {
    let bucket = bucket();
    let (threads, times) = (8, 2_000);
    let sums: BTreeSet<i128> = thread::scope(|scope| {
        let count = || -> Vec<i128> {
            let sum = |_| increment(&bucket, "n", 1, &LIMITS).unwrap();
            (0..times).map(sum).collect()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        let done = running.into_iter();
        done.flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sums, (1..=threads * times).collect());
}

#[test]
fn what_many_threads_hold_is_counted() {
    let bucket = bucket();
    let limits = Limits {
        bucket: 10 * weight("k-0-0", b""),
        ..LIMITS
    };
    thread::scope(|scope| {
        for number in 0..4 {
            let (bucket, limits) = (&bucket, &limits);
            scope.spawn(move || {
                for at in 0..500 {
                    let key = format!("k-{number}-{}", at % 7);
                    // One of these may find no room.
                    let _refused = set(bucket, &key, &[0; 40][..at % 40], limits);
                    assert!(bucket.room.held() <= limits.bucket);
                    if at % 3 == 0 {
                        bucket.delete(&key);
                    }
                }
            });
        }
    });
    let held = all_keys(&bucket).into_iter().map(|key| {
        let value = bucket.get(&key).unwrap();
        weight(&key, &value)
    });
    assert_eq!(held.sum::<u64>(), bucket.room.held());
    assert_eq!(bucket.total.held(), bucket.room.held());
}

#[test]
fn keys_that_stay_are_listed_once_while_others_come_and_go() {
    let bucket = bucket();
    let stay: BTreeSet<String> = (0..25_000).map(|n| format!("stay-{n}")).collect();
    for key in &stay {
        set(&bucket, key, b"", &LIMITS).unwrap();
    }
    let mut listed: HashMap<String, u32> = HashMap::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for at in 0..20_000 {
                set(&bucket, &format!("new-{at}"), b"", &LIMITS).unwrap();
                set(&bucket, &format!("stay-{at}"), b"again", &LIMITS).unwrap();
                bucket.delete(&format!("new-{}", at / 2));
            }
        });
        for key in all_keys(&bucket) {
            *listed.entry(key).or_default() += 1;
        }
        writer.join().unwrap();
    });
    assert!(listed.values().all(|count| *count == 1));
    assert!(stay.iter().all(|key| listed.contains_key(key)));
}

#[test]
fn a_cursor_after_the_last_place_ends() {
    let bucket = bucket();
    set(&bucket, "a", b"", &LIMITS).unwrap();
    let KeysPage { keys, cursor } = bucket.list_keys(Some(u64::MAX));
    assert!(keys.is_empty() && cursor.is_none());
}

#[test]
fn a_shard_that_is_emptied_gets_smaller() {
    let bucket = bucket();
    let keys: Vec<String> = (0..64_000).map(|n| n.to_string()).collect();
    for key in &keys {
        set(&bucket, key, b"", &LIMITS).unwrap();
    }
    let capacity = || -> usize { bucket.shards.iter().map(|s| s.lock().capacity()).sum() };
    assert!(capacity() >= 64_000);
    keys.iter().for_each(|key| bucket.delete(key));
    assert!(capacity() < 64 * 2 * SMALL, "{}", capacity());
}

#[derive(Debug, Clone)]
enum Step {
    Set(String, Vec<u8>),
    Delete(String),
    Increment(String, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || "[a-e]";
    let value = prop_oneof![
        "[0-9]{1,22}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..64),
    ];
    let step = prop_oneof![
        (key(), value).prop_map(|(key, value)| Step::Set(key, value)),
        key().prop_map(Step::Delete),
        (key(), prop_oneof![0..20_u64, any::<u64>()]).prop_map(|(k, n)| Step::Increment(k, n)),
    ];
    proptest::collection::vec(step, 0..48)
}

/// The sum that a bucket has to come to.
fn sum(value: Option<&Vec<u8>>, delta: u64) -> Option<u64> {
    let current = match value {
        None => 0,
        Some(value) => std::str::from_utf8(value).ok()?.parse::<u64>().ok()?,
    };
    current.checked_add(delta)
}

proptest! {
    #[test]
    fn a_bucket_is_a_bounded_map(steps in steps(), most in 0_u64..1_000) {
        let bucket = bucket();
        let limits = Limits { bucket: most, ..LIMITS };
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let held = |model: &BTreeMap<String, Vec<u8>>| -> u64 {
            model.iter().map(|(key, value)| weight(key, value)).sum()
        };
        for step in steps {
            let before = held(&model);
            let mut wanted = model.clone();
            let done = match step {
                Step::Delete(key) => {
                    bucket.delete(&key);
                    wanted.remove(&key);
                    true
                }
                Step::Set(key, value) => {
                    let done = set(&bucket, &key, &value, &limits).is_ok();
                    wanted.insert(key, value);
                    done
                }
                Step::Increment(key, delta) => {
                    let done = increment(&bucket, &key, delta, &limits);
                    let Some(sum) = sum(model.get(&key), delta) else {
                        prop_assert!(done.is_err());
                        continue;
                    };
                    prop_assert!(done.as_ref().map_or(true, |done| *done == sum.into()));
                    wanted.insert(key, sum.to_string().into_bytes());
                    done.is_ok()
                }
            };
            // It is done exactly when there is room for what it comes to.
            let after = held(&wanted);
            prop_assert_eq!(done, after <= before || after <= most);
            if done {
                model = wanted;
            }
            prop_assert_eq!(bucket.room.held(), held(&model));
        }
        for key in ["a", "b", "c", "d", "e"] {
            let value = model.get(key).map(|value| Bytes::from(value.clone()));
            prop_assert_eq!(bucket.exists(key), value.is_some());
            prop_assert_eq!(bucket.get(key), value);
        }
        let mut keys = all_keys(&bucket);
        keys.sort_unstable();
        prop_assert_eq!(keys, model.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn what_was_set_comes_back(key in "\\PC{0,64}", value: Vec<u8>) {
        let bucket = bucket();
        prop_assert_eq!(set(&bucket, &key, &value, &LIMITS), Ok(()));
        prop_assert_eq!(bucket.get(&key), Some(Bytes::from(value)));
        prop_assert_eq!(all_keys(&bucket), [key]);
    }
}

#[test]
fn versions_change_with_every_write() {
    let bucket = bucket();
    let how = writing(&LIMITS);
    let mut seen = BTreeSet::from([bucket.read("a").version]);
    for value in [b"x", b"x", b"y"] {
        set(&bucket, "a", value, &LIMITS).unwrap();
        assert!(seen.insert(bucket.read("a").version));
    }
    bucket.delete("a");
    assert_eq!(bucket.read("a").version, ABSENT);
    set(&bucket, "a", b"x", &LIMITS).unwrap();
    assert!(seen.insert(bucket.read("a").version));
    for stale in &seen {
        let is_last = *stale == bucket.read("a").version;
        let done = bucket.swap("a", stale, b"z", &how).unwrap();
        assert_eq!(done == Outcome::Swapped, is_last);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_absent_and_takes_no_room() {
    let bucket = bucket();
    let how = writing(&LIMITS);
    let second = Some(Duration::from_secs(1));
    bucket.set("a", b"1", second, &how).unwrap();
    bucket.set("b", b"1", second, &how).unwrap();
    bucket.set("c", b"1", second, &how).unwrap();
    set(&bucket, "b", b"1", &LIMITS).unwrap();
    // A number keeps the time of its key.
    increment(&bucket, "c", 1, &LIMITS).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!((bucket.get("a"), bucket.exists("c")), (None, false));
    assert_eq!(bucket.read("a").version, ABSENT);
    assert_eq!(all_keys(&bucket), ["b"]);
    assert_eq!(increment(&bucket, "a", 1, &LIMITS), Ok(1));
    bucket.sweep();
    let held = weight("a", b"1") + weight("b", b"1");
    assert_eq!(bucket.room.held(), held);
    let of_link = Writing {
        lifetime: second,
        ..how
    };
    bucket.increment("a", 1_u64.into(), &of_link).unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    bucket.sweep();
    assert_eq!(all_keys(&bucket), ["b"]);
}
