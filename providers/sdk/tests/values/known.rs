//! All functions that components call with values as they are, by the types that hosts hand over.

use bytes::Bytes;
use lattice_core::keyvalue::{self, KeysPage, TextPage, Versioned};
use lattice_core::values::{lock, messaging, queue, schedule, sql};

use super::{Lattice, text};

const SQL: &str = "lattice:sql/sql@0.1.0";
const SENDS: &str = "lattice:queue/producer@0.1.0";
const RECEIVES: &str = "lattice:queue/consumer@0.1.0";
const LOCK: &str = "lattice:lock/lock@0.1.0";
const SCHEDULER: &str = "lattice:schedule/scheduler@0.1.0";
const CONSUMER: &str = "wasmcloud:messaging/consumer@0.2.0";
const PRODUCER: &str = "lattice:messaging/producer@0.1.0";
const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";
const OWN_STORE: &str = "lattice:keyvalue/store@0.1.0";
const OWN_ATOMICS: &str = "lattice:keyvalue/atomics@0.1.0";

/// Calls each function with values of these types, whatever it says: with an answer of this type.
macro_rules! taken {
    ($lattice:expr; $($of:ident $name:literal $params:expr => $answer:ty;)+) => {$(
        let _: $answer = $lattice.handed(($of, $name), $params).await;
    )+};
}

fn t() -> String {
    text("t")
}

type InSql<T> = Result<T, sql::Error>;
type InQueue<T> = Result<T, queue::Error>;
type InLock<T> = Result<T, lock::Error>;
type InSchedule<T> = Result<T, schedule::Error>;
type InMessaging<T> = Result<T, messaging::Error>;

#[tokio::test]
async fn every_known_function_takes_and_answers_the_types_that_hosts_hand_over() {
    let lattice = Lattice::start().await;
    of_databases(&lattice).await;
    of_queues(&lattice).await;
    of_locks_and_jobs(&lattice).await;
    of_messages(&lattice).await;
    of_stores(&lattice).await;
}

async fn of_databases(lattice: &Lattice) {
    let (tx, values) = (None::<String>, Vec::<sql::Value>::new());
    let many = vec![values.clone()];
    taken! { lattice;
        SQL "query" (text(""), tx.clone(), t(), values.clone(), 1_u32) => InSql<sql::Rows>;
        SQL "fetch" (text(""), t(), 1_u32) => InSql<sql::Rows>;
        SQL "close" (text(""), t()) => InSql<()>;
        SQL "execute" (text(""), tx.clone(), t(), values) => InSql<sql::Done>;
        SQL "execute-many" (text(""), tx, t(), many) => InSql<sql::Done>;
        SQL "begin" (text(""), sql::Isolation::Default, 1000_u32) => InSql<String>;
        SQL "commit" (text(""), t()) => InSql<()>;
        SQL "rollback" (text(""), t()) => InSql<()>;
    }
}

async fn of_queues(lattice: &Lattice) {
    let message = queue::Message {
        body: Bytes::from_static(b"hi"),
        content_type: None,
        attributes: Vec::new(),
        dedup_id: None,
        group: None,
    };
    let many = vec![message.clone()];
    taken! { lattice;
        SENDS "send" (text(""), message, None::<u32>) => InQueue<String>;
        SENDS "send-many" (text(""), many) => InQueue<Vec<InQueue<String>>>;
        RECEIVES "receive" (text(""), 1_u32, 0_u32, None::<u32>) => InQueue<Vec<queue::Delivery>>;
        RECEIVES "settle" (text(""), t(), queue::Outcome::Ack) => InQueue<()>;
        RECEIVES "extend" (text(""), t(), 1000_u32) => InQueue<()>;
        RECEIVES "depth-of" (text(""),) => InQueue<queue::Depth>;
    }
}

async fn of_locks_and_jobs(lattice: &Lattice) {
    let job = schedule::Job {
        name: t(),
        trigger: schedule::Trigger::EveryMs(1000),
        time_zone: None,
        payload: Bytes::new(),
    };
    taken! { lattice;
        LOCK "acquire" (text(""), t(), 1000_u32, 0_u32) => InLock<lock::Lease>;
        LOCK "renew" (text(""), t(), 1000_u32) => InLock<lock::Lease>;
        LOCK "release" (text(""), t()) => InLock<()>;
        LOCK "inspect" (text(""), t()) => InLock<Option<lock::Holder>>;
        SCHEDULER "put-job" (job,) => InSchedule<()>;
        SCHEDULER "delete-job" (t(),) => InSchedule<()>;
        SCHEDULER "list-jobs" () => InSchedule<Vec<schedule::Job>>;
    }
}

/// There is no link to a broker, which is an answer as well.
async fn of_messages(lattice: &Lattice) {
    let plain = messaging::BrokerMessage {
        subject: t(),
        body: Bytes::new(),
        reply_to: None,
    };
    let own = messaging::Message {
        subject: t(),
        reply_to: None,
        content_type: None,
        metadata: Vec::new(),
        body: Bytes::new(),
    };
    taken! { lattice;
        CONSUMER "publish" (plain,) => Result<(), String>;
        CONSUMER "request" (t(), Bytes::new(), 1000_u32) => Result<messaging::BrokerMessage, String>;
        PRODUCER "publish" (own.clone(),) => InMessaging<()>;
        PRODUCER "request" (own, 1000_u32, 1_u32) => InMessaging<Vec<messaging::Message>>;
    }
}

/// Nor is there one to a store.
async fn of_stores(lattice: &Lattice) {
    let (value, keys) = (Bytes::new(), vec![t()]);
    let entries = vec![(t(), value.clone())];
    taken! { lattice;
        STORE "get" (t(), t()) => keyvalue::Answer<Option<Bytes>>;
        STORE "set" (t(), t(), value.clone()) => keyvalue::Answer<()>;
        STORE "delete" (t(), t()) => keyvalue::Answer<()>;
        STORE "exists" (t(), t()) => keyvalue::Answer<bool>;
        STORE "list-keys" (t(), None::<u64>) => keyvalue::Answer<KeysPage>;
        ATOMICS "increment" (t(), t(), 1_u64) => keyvalue::Answer<u64>;
        BATCH "get-many" (t(), keys.clone()) => keyvalue::Answer<Vec<Option<(String, Bytes)>>>;
        BATCH "set-many" (t(), entries) => keyvalue::Answer<()>;
        BATCH "delete-many" (t(), keys) => keyvalue::Answer<()>;
        OWN_STORE "read" (t(), t()) => keyvalue::Answer<Versioned>;
        OWN_STORE "set" (t(), t(), value.clone(), None::<u64>) => keyvalue::Answer<()>;
        OWN_STORE "list-keys" (t(), None::<String>) => keyvalue::Answer<TextPage>;
        OWN_ATOMICS "increment" (t(), t(), 1_i64) => keyvalue::Answer<i64>;
        OWN_ATOMICS "swap" (t(), t(), t(), value) => keyvalue::Answer<keyvalue::Outcome>;
    }
}
