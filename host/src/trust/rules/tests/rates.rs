//! How many calls pass, and how much a batch counts.

use super::*;

const QUEUE: &str = "lattice:queue/producer@0.1.0";
const SQL: &str = "lattice:sql/sql@0.1.0";

#[tokio::test(start_paused = true)]
async fn a_rate_counts_what_passes_and_nothing_else() {
    let gate = gate(
        "wasi:keyvalue/store",
        json!({"rate": "2/s", "prefix": ["a"]}),
    );
    let ask = |key: &str| gate.check(STORE, "get", &texts(&["", key]));
    assert!(ask("b").is_err() && ask("b").is_err() && ask("a").is_ok() && ask("a").is_ok());
    let Err(error @ InvokeError::Limited { retry_after_ms, .. }) = ask("a") else {
        panic!("no third one");
    };
    assert!(retry_after_ms <= 501);
    let text = error.to_string();
    assert!(
        text.contains("`rate`") && text.contains("2/s") && text.contains("cart -> "),
        "{text}"
    );
    tokio::time::advance(std::time::Duration::from_millis(retry_after_ms)).await;
    assert!(ask("a").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_again_in_another_form_counts_once_and_is_checked_again() {
    let gate = gate(
        "wasi:keyvalue/store,batch",
        json!({"rate": "3/h", "within": ["shop"]}),
    );
    let ask = |count| gate.check(BATCH, "get-many", &batch(&["shop"], count));
    let again = |bucket| gate.check_again(BATCH, "get-many", &batch(&[bucket], 2));
    assert!(ask(2).is_ok() && again("shop").is_ok());
    let Err(InvokeError::Denied { .. }) = again("other") else {
        panic!("the rules are about every form");
    };
    assert!(ask(1).is_ok() && again("shop").is_ok());
    let Err(InvokeError::Limited { .. }) = ask(1) else {
        panic!("three pass, and no fourth one");
    };
}

/// Texts, and a list of so many elements of one byte.
fn batch(before: &[&str], count: u8) -> Bytes {
    let mut out = BytesMut::new();
    before.iter().for_each(|text| write::string(&mut out, text));
    write::uleb(&mut out, u64::from(count));
    out.extend_from_slice(&vec![0; usize::from(count)]);
    out.freeze()
}

fn entries(count: u8) -> Bytes {
    let mut out = BytesMut::new();
    write::string(&mut out, "shop");
    write::uleb(&mut out, u64::from(count));
    for _ in 0..count {
        write::string(&mut out, "key");
        write::bytes(&mut out, b"value");
    }
    out.freeze()
}

/// `execute-many`: a database, no transaction, a statement, rows without values.
fn rows(count: u8) -> Bytes {
    let (before, after) = (batch(&["db"], 0), batch(&["INSERT"], count));
    [before, after].concat().into()
}

/// A batch of so many of a function.
type Batch = fn(u8) -> Bytes;

#[tokio::test(start_paused = true)]
async fn each_thing_that_a_batch_is_about_counts() {
    let names: Batch = |count| batch(&["shop"], count);
    for (interface, instance, function, of) in [
        ("wasi:keyvalue/batch", BATCH, "get-many", names),
        ("wasi:keyvalue/batch", BATCH, "delete-many", names),
        ("wasi:keyvalue/batch", BATCH, "set-many", entries),
        ("wasi:blobstore/container", BLOBS, "delete-objects", names),
        ("lattice:queue/producer", QUEUE, "send-many", names),
        ("lattice:sql/sql", SQL, "execute-many", rows),
    ] {
        let gate = gate(interface, json!({"rate": "10/s"}));
        let asked = |count| gate.check(instance, function, &of(count));
        assert!(asked(7).is_ok(), "{function}");
        let Err(InvokeError::Limited { retry_after_ms, .. }) = asked(4) else {
            panic!("{function}: eleven of ten");
        };
        assert_eq!(retry_after_ms, 101, "{function}");
        // One of nothing is a call all the same.
        assert!(asked(2).is_ok() && asked(0).is_ok(), "{function}");
        assert!(asked(0).is_err() && asked(1).is_err(), "{function}");
        // More than ever passes at once is no matter of time.
        tokio::time::advance(std::time::Duration::from_secs(60)).await;
        let never = asked(11).unwrap_err();
        let InvokeError::Denied { rule, why, .. } = &never else {
            panic!("{function}: {never}");
        };
        assert_eq!(rule, "rate");
        assert!(
            why.contains("a batch of 11, and `10/s` lets 10 through"),
            "{why}"
        );
        assert!(asked(10).is_ok(), "{function}");
    }
}

#[test]
fn a_batch_that_cannot_be_read_does_not_pass() {
    let gate = gate("wasi:keyvalue/batch", json!({"rate": "10/s"}));
    let cut = batch(&["shop"], 9).slice(..8);
    assert_eq!(
        refusing(&gate, BATCH, "get-many", &cut).as_deref(),
        Some("rate")
    );
}
