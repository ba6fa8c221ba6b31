//! The cases, each a test of every provider.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::join_all;
use lattice_provider_sdk::keyvalue::{KeyValueError, LARGEST_ANSWER};

use crate::{Component, Setup};

const BUCKET: &str = "default";

/// A set value is read, replaced and deleted.
pub async fn what_is_set_is_there(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.get(BUCKET, "a").await, Ok(None));
    assert_eq!(kv.exists(BUCKET, "a").await, Ok(false));
    for value in ["one", "two"] {
        assert_eq!(kv.set(BUCKET, "a", value).await, Ok(()));
        assert_eq!(kv.get(BUCKET, "a").await, Ok(Some(value.into())));
        assert_eq!(kv.exists(BUCKET, "a").await, Ok(true));
    }
    assert_eq!(kv.delete(BUCKET, "a").await, Ok(()));
    assert_eq!(kv.get(BUCKET, "a").await, Ok(None));
    assert_eq!(kv.exists(BUCKET, "a").await, Ok(false));
    assert_eq!(kv.set(BUCKET, "a", "three").await, Ok(()));
    assert_eq!(kv.get(BUCKET, "a").await, Ok(Some("three".into())));
}

/// An empty value is a value.
pub async fn an_empty_value_is_not_absent(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.set(BUCKET, "a", "").await, Ok(()));
    assert_eq!(kv.get(BUCKET, "a").await, Ok(Some(Bytes::new())));
    assert_eq!(kv.exists(BUCKET, "a").await, Ok(true));
}

/// What is not there can be deleted, and stays deleted.
pub async fn deleting_what_is_absent_is_fine(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.delete(BUCKET, "never").await, Ok(()));
    assert_eq!(kv.set(BUCKET, "once", "x").await, Ok(()));
    assert_eq!(kv.delete(BUCKET, "once").await, Ok(()));
    assert_eq!(kv.delete(BUCKET, "once").await, Ok(()));
    assert_eq!(kv.list_keys(BUCKET, None).await.map(|p| p.keys), Ok(vec![]));
}

/// A value of one mebibyte with every byte in it.
pub async fn large_values_come_back(setup: &Setup) {
    let kv = &setup.component;
    let value: Bytes = (0..=u8::MAX).cycle().take(1024 * 1024).collect();
    assert_eq!(kv.set(BUCKET, "large", value.clone()).await, Ok(()));
    let got = kv.get(BUCKET, "large").await;
    assert!(got == Ok(Some(value)), "the value is another one");
}

/// Keys are texts, whatever is in them.
pub async fn any_text_is_a_key(setup: &Setup) {
    let kv = &setup.component;
    let long = "ключ".repeat(64);
    let keys = [
        "",
        " ",
        ".",
        "..",
        "a.b",
        "a..b",
        ".a",
        "a.",
        "*",
        "a.*",
        ">",
        "a.>",
        "a b",
        "user:1",
        "a/b",
        "/",
        "=",
        "=x3A",
        "a=b",
        "ключ",
        "🔑",
        "tab\t",
        "line\n",
        "nul\0",
        "{tag}",
        "?[a-z]",
        "lattice:kv:",
        "lattice:kv:0::",
        "lattice:kv:1:a:b",
        &long,
    ];
    for key in keys {
        assert_eq!(kv.get(BUCKET, key).await, Ok(None), "{key:?}");
        assert_eq!(kv.set(BUCKET, key, key.to_owned()).await, Ok(()), "{key:?}");
    }
    for key in keys {
        let value = Bytes::from(key.to_owned());
        assert_eq!(kv.get(BUCKET, key).await, Ok(Some(value)), "{key:?}");
        assert_eq!(kv.exists(BUCKET, key).await, Ok(true), "{key:?}");
    }
    let mut listed = kv.list_keys(BUCKET, None).await.expect("a page").keys;
    let mut expected = keys.map(str::to_owned).to_vec();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    for key in keys {
        assert_eq!(kv.delete(BUCKET, key).await, Ok(()), "{key:?}");
    }
    assert_eq!(kv.list_keys(BUCKET, None).await.map(|p| p.keys), Ok(vec![]));
}

/// The link's own bucket has several names; others are others.
pub async fn buckets_do_not_mix(setup: &Setup) {
    let kv = &setup.component;
    for (bucket, value) in [("default", "own"), ("cart", "cart"), ("car", "car")] {
        assert_eq!(kv.set(bucket, "a", value).await, Ok(()));
        assert_eq!(kv.set(bucket, value, value).await, Ok(()));
    }
    for (bucket, value) in [
        ("", "own"),
        ("default", "own"),
        ("cart", "cart"),
        ("car", "car"),
    ] {
        assert_eq!(
            kv.get(bucket, "a").await,
            Ok(Some(value.into())),
            "{bucket}"
        );
        let mut keys = kv.list_keys(bucket, None).await.expect("a page").keys;
        keys.sort_unstable();
        assert_eq!(keys, ["a", value], "{bucket}");
    }
    assert_eq!(kv.delete("cart", "a").await, Ok(()));
    assert_eq!(kv.get("car", "a").await, Ok(Some("car".into())));
}

/// More keys than one page takes, with others written between the pages.
pub async fn paging_finds_every_key_while_others_write(setup: &Setup) {
    let kv = &setup.component;
    let keys: Vec<String> = (0..12_000).map(|n| format!("key-{n}")).collect();
    for part in keys.chunks(3_000) {
        let entries: Vec<_> = part.iter().map(|k| (k.as_str(), Bytes::new())).collect();
        assert_eq!(kv.set_many(BUCKET, &entries).await, Ok(()));
    }
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut cursor = None;
    let mut pages = 0;
    loop {
        let page = kv.list_keys(BUCKET, cursor).await.expect("a page");
        page.keys
            .into_iter()
            .for_each(|key| *counts.entry(key).or_default() += 1);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
        // One that was listed or not, and one that is new.
        assert_eq!(kv.set(BUCKET, &keys[pages], "again").await, Ok(()));
        assert_eq!(kv.set(BUCKET, &format!("new-{pages}"), "new").await, Ok(()));
    }
    assert!(pages > 1);
    let missing: Vec<_> = keys
        .iter()
        .filter(|key| !counts.contains_key(*key))
        .collect();
    assert!(missing.is_empty(), "{} are missing", missing.len());
    if setup.lists_once {
        assert!(counts.values().all(|count| *count == 1));
    }
}

/// Nothing is listed where nothing is.
pub async fn an_empty_bucket_lists_nothing(setup: &Setup) {
    let page = setup
        .component
        .list_keys(BUCKET, None)
        .await
        .expect("a page");
    assert!(page.keys.is_empty());
    assert_eq!(page.cursor, None);
}

/// Numbers are decimal text that others can read and write.
pub async fn increments_count_from_zero(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.increment(BUCKET, "n", 5).await, Ok(5));
    assert_eq!(kv.increment(BUCKET, "n", 0).await, Ok(5));
    assert_eq!(kv.increment(BUCKET, "n", 1 << 40).await, Ok(5 + (1 << 40)));
    assert_eq!(kv.set(BUCKET, "n", "41").await, Ok(()));
    assert_eq!(kv.increment(BUCKET, "n", 1).await, Ok(42));
    assert_eq!(kv.get(BUCKET, "n").await, Ok(Some("42".into())));
    assert_eq!(kv.delete(BUCKET, "n").await, Ok(()));
    assert_eq!(kv.increment(BUCKET, "n", 1).await, Ok(1));
}

/// Adds one as often as `times` at the same time and expects every sum exactly once.
pub async fn count_at_once(kv: &Component, key: &str, times: u64) {
    let counts = (0..times).map(|_| kv.increment(BUCKET, key, 1));
    let sums: Result<Vec<u64>, KeyValueError> = join_all(counts).await.into_iter().collect();
    let mut sums = sums.expect("every increment succeeds");
    sums.sort_unstable();
    assert_eq!(sums, (1..=times).collect::<Vec<_>>());
}

/// No increment is lost or counted twice.
pub async fn increments_at_the_same_time_all_count(setup: &Setup) {
    count_at_once(&setup.component, "n", 64).await;
    assert_eq!(setup.component.increment(BUCKET, "n", 0).await, Ok(64));
}

/// A value that is no number, or too large to grow, is left alone.
pub async fn what_is_no_number_is_not_incremented(setup: &Setup) {
    let kv = &setup.component;
    let largest = u64::MAX.to_string();
    for value in ["seven", "", "1.5", &largest] {
        assert_eq!(kv.set(BUCKET, "word", value.to_owned()).await, Ok(()));
        let refused = kv.increment(BUCKET, "word", 1).await;
        let Err(KeyValueError::Other(why)) = refused else {
            panic!("{value:?} was incremented: {refused:?}");
        };
        assert!(why.contains("`word`"), "{why}");
        let left = Bytes::from(value.to_owned());
        assert_eq!(kv.get(BUCKET, "word").await, Ok(Some(left)));
    }
}

/// Entries come in the order of the keys, absent ones too.
pub async fn batches_keep_their_order(setup: &Setup) {
    let kv = &setup.component;
    let set = [
        ("b", "2".into()),
        ("a", "1".into()),
        ("c", "3".into()),
        ("a", "4".into()),
    ];
    assert_eq!(kv.set_many(BUCKET, &set).await, Ok(()));
    let entry = |key: &str, value: &'static str| Some((key.to_owned(), Bytes::from(value)));
    let got = kv.get_many(BUCKET, &["a", "x", "c", "b", "a"]).await;
    let expected = vec![
        entry("a", "4"),
        None,
        entry("c", "3"),
        entry("b", "2"),
        entry("a", "4"),
    ];
    assert_eq!(got, Ok(expected));
    assert_eq!(kv.delete_many(BUCKET, &["a", "x", "c"]).await, Ok(()));
    assert_eq!(
        kv.list_keys(BUCKET, None).await.map(|p| p.keys),
        Ok(vec!["b".to_owned()])
    );
}

/// Batches of nothing.
pub async fn empty_batches_do_nothing(setup: &Setup) {
    let kv = &setup.component;
    assert_eq!(kv.set_many(BUCKET, &[]).await, Ok(()));
    assert_eq!(kv.get_many(BUCKET, &[]).await, Ok(vec![]));
    assert_eq!(kv.delete_many(BUCKET, &[]).await, Ok(()));
}

/// One value that is asked for many times is more than an answer can carry.
pub async fn a_batch_whose_values_are_too_many_is_refused(setup: &Setup) {
    let kv = &setup.component;
    let value = Bytes::from(vec![7; 256 << 10]);
    assert_eq!(kv.set(BUCKET, "a", value.clone()).await, Ok(()));
    let asked = vec!["a"; LARGEST_ANSWER / value.len() + 1];
    let too_large = Err(KeyValueError::answer_too_large());
    let got = kv.get_many(BUCKET, &asked).await;
    assert!(got == too_large, "the batch was answered");
    let got = kv.get_many(BUCKET, &asked[..2]).await;
    let entry = Some(("a".to_owned(), value));
    assert!(got == Ok(vec![entry; 2]), "the values are other ones");
}

/// A component without a link is told which one it lacks.
pub async fn a_missing_link_is_named(setup: &Setup) {
    let stranger = setup.lattice.component("stranger", "spare");
    let Err(KeyValueError::Other(why)) = stranger.get(BUCKET, "a").await else {
        panic!("a stranger was served");
    };
    assert!(
        why.contains("`stranger`") && why.contains("`spare`"),
        "{why}"
    );
}
