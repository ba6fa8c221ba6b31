//! Feeds what stores, brokers and clocks keep for components: keys, names, letters, places of
//! pieces, values of calls, times of jobs; locks and jobs as buckets have them.
#![no_main]

use std::collections::HashMap;

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Bytes, BytesMut};
use lapin::BasicProperties;
use lapin::protocol::basic::parse_properties;
use lapin::types::{AMQPValue, FieldTable};
use lattice_codec::Reader;
use lattice_provider_sdk::Settings;
use lattice_provider_sdk::keyvalue::watch::Watched;
use lattice_provider_sdk::queue::Message;
use lattice_provider_sdk::schedule::Trigger;
use libfuzzer_sys::fuzz_target;
use schedule_nats::trigger::Plan;
use serde_json::{Value, json};
use wire::Wire as _;

#[allow(dead_code, reason = "letters are read, those of others too")]
#[path = "../../providers/queue-azure/src/stored_message.rs"]
mod azure_letter;
#[allow(dead_code, reason = "no folders are made")]
#[path = "../../providers/blobstore-fs/src/name.rs"]
mod fs_name;
#[allow(dead_code, reason = "nothing is written to a stream")]
#[path = "../../providers/blobstore-nats/src/index.rs"]
mod index;
#[path = "../../providers/keyvalue-nats/src/key.rs"]
mod nats_key;
#[allow(dead_code, reason = "letters are read, those of others too")]
#[path = "../../providers/queue-nats/src/stored_message.rs"]
mod nats_letter;
#[allow(dead_code, reason = "keys of any length are tried")]
#[path = "../../providers/keyvalue-postgres/src/key.rs"]
mod postgres_key;
#[allow(dead_code, reason = "new letters have a history of their own")]
#[path = "../../providers/queue-rabbitmq/src/stored_message.rs"]
mod rabbit_letter;
#[path = "../../providers/keyvalue-redis/src/namespace.rs"]
mod redis_key;
#[allow(dead_code, reason = "letters are read, those of others too")]
#[path = "../../providers/queue-sqs/src/stored_message.rs"]
mod sqs_letter;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the types of the capabilities are elsewhere"
)]
#[path = "../../providers/sdk/src/wire.rs"]
mod wire;

fuzz_target!(|data: &[u8]| {
    values(data);
    jobs(data);
    kept(data);
    rabbit(data);
    if let Ok(json) = serde_json::from_slice(data) {
        let _ = sqs_letter::read(&json);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        keys(text);
        letters(text);
        places(text);
        let _ = Watched::read(&Settings::from_texts([("watch", text)], []));
    }
});

type Values = (
    String,
    Vec<(String, Bytes)>,
    Option<u64>,
    Result<(), String>,
    i64,
);

fn values(data: &[u8]) {
    let decode = |bytes: Bytes| Values::decode(&mut Reader::new(bytes));
    if let Ok(values) = decode(Bytes::copy_from_slice(data)) {
        let mut out = BytesMut::new();
        values.encode(&mut out);
        assert_eq!(decode(out.freeze()), Ok(values));
    }
}

fn keys(text: &str) {
    if let Ok(stored) = nats_key::encode(text) {
        assert_eq!(nats_key::decode(&stored), text);
    }
    let _ = nats_key::decode(text);
    assert_eq!(postgres_key::decode(&postgres_key::encode(text)), text);
    let _ = postgres_key::decode(text);
    let (bucket, key) = text.split_once('\n').unwrap_or(("", text));
    let bucket = redis_key::Namespace::of(bucket);
    assert_eq!(bucket.key(&bucket.stored(key)), Some(key));
    let _ = (bucket.key(text), bucket.pattern());
    if let Some(name) = fs_name::decode(text) {
        assert_eq!(fs_name::encode(&name), text);
    }
    let (folders, file) = fs_name::parts(text);
    assert!(
        folders
            .iter()
            .chain([&file])
            .all(|part| part.len() <= 255 && !part.contains('/'))
    );
}

/// Letters as they are kept, with headers in the lines.
fn letters(text: &str) {
    for encoding in [
        azure_letter::Encoding::Auto,
        azure_letter::Encoding::Base64,
        azure_letter::Encoding::Text,
    ] {
        let letter = encoding.read(text);
        if let Ok(written) = encoding.write(&letter, azure_letter::MOST) {
            assert_eq!(encoding.read(&written), letter);
        }
    }
    let mut headers = HeaderMap::new();
    for line in text.split('\n') {
        let (name, value) = line.split_once(':').unwrap_or(("Lattice-Group", line));
        let (name, value) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let letter = nats_letter::read(Some(&headers), Bytes::new());
    let _ = nats_letter::headers(&letter);
    if let Ok(written) = sqs_letter::write(&letter, true, 1 << 18) {
        assert!(written.size <= 1 << 18);
    }
}

/// The properties of a letter as a server sends them, whoever has put it into its queue.
fn rabbit(data: &[u8]) {
    if let Ok((_, sent)) = parse_properties(data) {
        rabbit_told(&sent);
    }
    // Lines with a sign for a name that the letter knows, then others.
    let mut headers = FieldTable::default();
    for line in String::from_utf8_lossy(data).split('\n') {
        let (name, value) = line.split_once(':').unwrap_or(("+a", line));
        let name = match name {
            "1" => "lattice-attempts".to_owned(),
            "2" => "lattice-enqueued-at".to_owned(),
            "3" => "x-delivery-count".to_owned(),
            name => name.replacen('+', "lattice-attribute-", 1),
        };
        let value = match value.parse() {
            Ok(number) => AMQPValue::LongLongInt(number),
            Err(_) => AMQPValue::LongString(value.into()),
        };
        if name.len() < 256 {
            headers.insert(name.into(), value);
        }
    }
    rabbit_told(&BasicProperties::default().with_headers(headers));
}

fn rabbit_told(sent: &BasicProperties) {
    use rabbit_letter::{Seen, history, possible, properties, read};
    let letter = read(sent, Bytes::new());
    for seen in [Seen::Never, Seen::Before, Seen::Counted] {
        assert!(history(sent, seen).1 > u32::from(seen == Seen::Before));
    }
    let (known, _) = history(sent, Seen::Never);
    if possible(&letter).is_ok() {
        let written = properties(&letter, &known);
        assert_eq!(history(&written, Seen::Never).0.attempts, known.attempts);
        // Of two attributes of one name the last stays.
        let all = |letter: Message| HashMap::<_, _>::from_iter(letter.attributes);
        assert_eq!(all(read(&written, Bytes::new())), all(letter));
    }
}

/// Numbers, then a lock or a job as it stands in its bucket, or the texts that are in one.
fn kept(data: &[u8]) {
    let Some((numbers, stored)) = data.split_first_chunk::<48>() else {
        return;
    };
    let numbers: [_; 6] = std::array::from_fn(|at| {
        u64::from_le_bytes(std::array::from_fn(|byte| numbers[8 * at + byte]))
    });
    // Clocks do not reach the end of the numbers.
    let (made, later, now) = (numbers[0], numbers[1], numbers[2] >> 16);
    let texts = String::from_utf8_lossy(stored);
    let (lock, job) = (a_lock(numbers, &texts), a_job(numbers, &texts));
    lock_nats::fuzzing::lock(stored, made, later);
    lock_nats::fuzzing::lock(lock.to_string().as_bytes(), made, later);
    schedule_nats::fuzzing::job(stored, now);
    schedule_nats::fuzzing::job(job.to_string().as_bytes(), now);
}

fn a_lock([ttl, _, _, _, fence, what]: [u64; 6], texts: &str) -> Value {
    let (owner, secret) = texts.split_once('\n').unwrap_or((texts, ""));
    let mut lock = json!({ "owner": owner, "secret": secret, "ttl_ms": ttl });
    if what & 1 != 0 {
        lock["fence"] = fence.into();
    }
    lock
}

fn a_job([from, next, _, due, again, what]: [u64; 6], texts: &str) -> Value {
    let mut lines = texts.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let trigger = match what >> 6 & 3 {
        0 | 1 => json!({ "cron": line() }),
        2 => json!({ "every_ms": due }),
        _ => json!({ "at_ms": due }),
    };
    let [attempts, unheard, lost] = [8, 16, 24].map(|at| what >> at & 0xff);
    let mut job = json!({
        "component": line(), "link": line(), "job": line(), "payload": line(),
        "trigger": trigger, "from": from, "lost": lost, "stays": what & 1 != 0,
        "tried": { "attempts": attempts, "unheard": unheard, "again": again },
    });
    if what & 2 != 0 {
        job["time_zone"] = line().into();
    }
    if what & 4 != 0 {
        job["running"] = json!({ "due": due, "by": line() });
    }
    if what & 8 != 0 {
        job["next"] = next.into();
    }
    job
}

/// The size of an object and a byte of it, then where its pieces are.
fn places(text: &str) {
    let mut words = text.splitn(3, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(size), Some(byte)) = (number(), number()) else {
        return;
    };
    let written = format!("data {}", words.next().unwrap_or_default());
    let values = HashMap::from([("lattice-index".to_owned(), written)]);
    if let Some(index) = index::Index::read("data", size, &values) {
        if let Some((_, at)) = index.before(byte) {
            assert!(at <= byte);
        }
        let _ = (index.all(), index.piece());
        let mut again = HashMap::new();
        index.put("data", &mut again);
        assert_eq!(index::Index::read("data", size, &again), Some(index));
    }
}

/// Three times, then a trigger: a zone and a cron pattern, or a period.
fn jobs(data: &[u8]) {
    let Some((times, rest)) = data.split_first_chunk::<24>() else {
        return;
    };
    let time = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| times[at + byte]));
    let (from, due, now) = (time(0), time(8), time(16));
    for trigger in [Trigger::EveryMs(due), Trigger::AtMs(due)] {
        job(&trigger, None, (from, due, now));
    }
    if let Ok(text) = std::str::from_utf8(rest) {
        let (zone, cron) = text
            .split_once('\n')
            .map_or((None, text), |(z, c)| (Some(z), c));
        job(&Trigger::Cron(cron.to_owned()), zone, (from, due, now));
    }
}

fn job(trigger: &Trigger, zone: Option<&str>, (from, due, now): (u64, u64, u64)) {
    let Ok(plan) = Plan::read(trigger, zone, from) else {
        return;
    };
    let _ = plan.first(now);
    if let Some(next) = plan.after(now) {
        assert!(next > now || next == u64::MAX);
    }
    // What is due is counted one by one: ten minutes have enough seconds.
    let _ = plan.latest(due, now.min(due.saturating_add(600_000)));
}
