//! The second draft of `wasi:keyvalue`, against stores that serve all of it and such that do not.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use lattice_codec::{Reader, write};
use lattice_runtime::{Component, ComponentOptions, InvokeError};
use support::{Called, FakeInvoke, as_number, call, encoded, guest, prepare, wat};

const SUITE: &str = "lattice:conformance/suite@0.1.0";
const OLD: &str = "wrpc:keyvalue/";
/// How long an answer may be.
const MOST: usize = 64 << 20;
/// How many keys a page has.
const PAGE: usize = 5_000;

/// A store in memory: values with the number of their write.
#[derive(Default)]
struct Store {
    values: BTreeMap<(String, String), (Bytes, u64)>,
    writes: u64,
}

fn versioned(out: &mut BytesMut, found: Option<&(Bytes, u64)>) {
    write::option(out, found, |out, (value, _)| write::bytes(out, value));
    let version = found.map_or("absent".to_owned(), |(_, version)| version.to_string());
    write::string(out, &version);
}

impl Store {
    fn set(&mut self, at: (String, String), value: Bytes) {
        self.writes += 1;
        self.values.insert(at, (value, self.writes));
    }

    /// Answers one call with a result.
    fn answer(&mut self, called: &Called) -> Bytes {
        let mut read = Reader::new(called.params.clone());
        let bucket = read.string().unwrap();
        let is_old = called.instance.starts_with(OLD);
        encoded(|out| {
            let name = called.function.as_str();
            if matches!(name, "get-many" | "set-many" | "delete-many") {
                return self.batch(name, &bucket, &mut read, out);
            }
            if name == "list-keys" {
                return self.list(&bucket, is_old, &mut read, out);
            }
            let at = (bucket, read.string().unwrap());
            self.one(name, is_old, at, &mut read, out);
        })
    }

    fn one(
        &mut self,
        name: &str,
        is_old: bool,
        at: (String, String),
        read: &mut Reader,
        out: &mut BytesMut,
    ) {
        let found = self.values.get(&at);
        if name == "increment" {
            return self.add(is_old, at, read, out);
        }
        write::bool(out, false);
        match name {
            "get" => write::option(out, found, |out, (value, _)| write::bytes(out, value)),
            "exists" => write::bool(out, found.is_some()),
            "delete" => drop(self.values.remove(&at)),
            "set" => self.set(at, read.bytes().unwrap()),
            "read" => versioned(out, found),
            "swap" => {
                let mut now = BytesMut::new();
                versioned(&mut now, found);
                let version = read.string().unwrap();
                let stale = !now.ends_with(version.as_bytes());
                write::bool(out, stale);
                match stale {
                    true => out.extend_from_slice(&now),
                    false => self.set(at, read.bytes().unwrap()),
                }
            }
            other => panic!("{other}"),
        }
    }

    fn add(&mut self, is_old: bool, at: (String, String), read: &mut Reader, out: &mut BytesMut) {
        let found = self.values.get(&at).map_or(Some(0), |(value, _)| {
            std::str::from_utf8(value).unwrap().parse::<i128>().ok()
        });
        let delta: i128 = match is_old {
            true => read.u64().unwrap().into(),
            false => read.sleb(64).unwrap().into(),
        };
        let sum = found.map(|number| number + delta);
        let Some(sum) = sum.and_then(|sum| i64::try_from(sum).ok()) else {
            write::bool(out, true);
            out.extend_from_slice(&[2]);
            return write::string(out, &format!("`{}` cannot be counted", at.1));
        };
        self.set(at, sum.to_string().into());
        write::bool(out, false);
        match is_old {
            true => write::uleb(out, sum.try_into().unwrap()),
            false => write::sleb(out, sum),
        }
    }

    fn list(&self, bucket: &str, is_old: bool, read: &mut Reader, out: &mut BytesMut) {
        let cursor = match is_old {
            true => read.option(Reader::u64).unwrap(),
            false => read
                .option(Reader::string)
                .unwrap()
                .map(|c| c.parse().unwrap()),
        };
        // Keys come in the order of their writes, which a cursor names; good enough for a test.
        let mut keys: Vec<_> = self
            .values
            .iter()
            .filter(|((b, _), _)| b == bucket)
            .collect();
        keys.sort_by_key(|(_, (_, version))| *version);
        let after = keys.partition_point(|(_, (_, version))| Some(*version) <= cursor);
        let page = &keys[after..keys.len().min(after + PAGE)];
        write::bool(out, false);
        write::uleb(out, page.len() as u64);
        page.iter()
            .for_each(|((_, key), _)| write::string(out, key));
        let more = (after + PAGE < keys.len()).then(|| page[page.len() - 1].1.1);
        write::option(out, more, |out, cursor| match is_old {
            true => write::uleb(out, cursor),
            false => write::string(out, &cursor.to_string()),
        });
    }

    fn batch(&mut self, name: &str, bucket: &str, read: &mut Reader, out: &mut BytesMut) {
        let count = read.count(1).unwrap();
        if name == "get-many" {
            return self.get_many(bucket, count, read, out);
        }
        write::bool(out, false);
        for _ in 0..count {
            let at = (bucket.to_owned(), read.string().unwrap());
            match name {
                "set-many" => self.set(at, read.bytes().unwrap()),
                _ => drop(self.values.remove(&at)),
            }
        }
    }

    /// As providers do it: an answer has its limit.
    fn get_many(&self, bucket: &str, count: usize, read: &mut Reader, out: &mut BytesMut) {
        let begun = out.len();
        write::bool(out, false);
        write::uleb(out, count as u64);
        for _ in 0..count {
            let key = read.string().unwrap();
            let found = self.values.get(&(bucket.to_owned(), key.clone()));
            write::option(out, found, |out, (value, _)| {
                write::string(out, &key);
                write::bytes(out, value);
            });
            if out.len() - begun > MOST {
                out.truncate(begun);
                write::bool(out, true);
                out.extend_from_slice(&[2]);
                return write::string(out, &format!("the answer has more than {MOST} bytes"));
            }
        }
    }
}

/// A provider; one of the first draft does not serve our interface.
fn provider(is_old: bool) -> Arc<FakeInvoke> {
    let store = Mutex::new(Store::default());
    FakeInvoke::new(move |called| {
        assert!(called.lookup.starts_with("wasi:keyvalue/"), "{called:?}");
        if is_old && !called.instance.starts_with(OLD) {
            return Err(InvokeError::NotServed {
                target: "kv".to_owned(),
                function: format!("{}.{}", called.instance, called.function),
            });
        }
        Ok(store.lock().unwrap().answer(&called))
    })
}

async fn suite(options: ComponentOptions, invoke: Arc<FakeInvoke>) -> Component {
    prepare(guest("suite-keyvalue2"), options, invoke).await
}

async fn cases(component: &Component) -> Vec<String> {
    let listed = call(component, SUITE, "cases", Bytes::new()).await.unwrap();
    let mut read = Reader::new(listed);
    let count = read.count(1).unwrap();
    (0..count).map(|_| read.string().unwrap()).collect()
}

/// Runs a case of the suite; an error tells whether it was refused by name.
async fn run(
    component: &Component,
    name: &str,
    features: &[(&str, &str)],
) -> Result<(), (bool, String)> {
    let params = encoded(|out| {
        write::string(out, name);
        write::uleb(out, features.len() as u64);
        for (name, value) in features {
            write::string(out, &format!("feature:{name}"));
            write::string(out, value);
        }
    });
    let answer = call(component, SUITE, "run", params).await.unwrap();
    let mut read = Reader::new(answer);
    if !read.result_is_err().unwrap() {
        return Ok(());
    }
    let refused = read.case("failure", 2).unwrap() == 1;
    Err((refused, read.string().unwrap()))
}

#[tokio::test]
async fn a_keyvalue_guest_of_the_second_draft_passes_its_suite() {
    let component = suite(ComponentOptions::default(), provider(false)).await;
    let cases = cases(&component).await;
    assert!(cases.len() > 20, "{cases:?}");
    for name in cases {
        let done = run(&component, &name, &[("cas", "version")]).await;
        if name.contains("the limit") || name.contains("watcher") {
            // This store tells none, and nobody watches.
            assert!(matches!(done, Err((true, _))), "{name}: {done:?}");
            continue;
        }
        assert_eq!(done, Ok(()), "{name}");
    }
}

#[tokio::test]
async fn a_keyvalue_store_of_the_first_draft_does_what_it_can() {
    let component = suite(ComponentOptions::default(), provider(true)).await;
    for name in [
        "what is set is there until it is deleted",
        "many keys come in their order with gaps",
        "paging finds every key while others write",
    ] {
        assert_eq!(run(&component, name, &[]).await, Ok(()), "{name}");
    }
    // Comparing is refused by name, and so is taking away.
    let (refused, why) = run(&component, "a stale swap gives what is there", &[])
        .await
        .unwrap_err();
    assert!(refused && why.contains("`kv`"), "{why}");
    assert!(why.contains("lattice:keyvalue/store@0.1.0.read"), "{why}");
    let (refused, why) = run(&component, "an absent number counts from zero", &[])
        .await
        .unwrap_err();
    assert!(!refused && why.contains("not take away"), "{why}");
}

#[tokio::test]
async fn keyvalue_handles_hold_a_bounded_amount() {
    let options = ComponentOptions {
        max_buffered_bytes: 1,
        ..ComponentOptions::default()
    };
    let component = suite(options, provider(false)).await;
    let features = [("cas", "version")];
    let case = "a stale swap gives what is there";
    let (_, why) = run(&component, case, &features).await.unwrap_err();
    assert!(why.contains("more than 1 bytes"), "{why}");
}

#[tokio::test]
async fn a_keyvalue_guest_of_spin_gets_its_own_shape() {
    let invoke = FakeInvoke::new(|called| {
        assert_eq!(called.instance, "wrpc:keyvalue/batch@0.2.0-draft");
        assert_eq!(&called.params[..], b"\x01b\x02\x01k\x01x");
        Ok(Bytes::from_static(b"\x00\x02\x01\x01k\x02vv\x00"))
    });
    let component = wat(include_str!("wat/many_of_spin.wat"));
    let component = prepare(component, ComponentOptions::default(), invoke).await;
    let told = call(&component, "", "many", Bytes::new()).await.unwrap();
    assert_eq!(as_number(told), 210);
}
