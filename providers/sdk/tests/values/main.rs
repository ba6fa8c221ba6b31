//! Callers in the same process, whose values are handed over as they are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod known;
mod nowhere;
mod stubs;

use std::any::{Any, TypeId};
use std::time::Duration;

use bytes::Bytes;
use lattice_core::provider::HostData;
use lattice_core::subject::RpcPrefix;
use lattice_core::values::{lock, queue, schedule, sql};
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::run_inside;
use lattice_rpc::{CallError, Invocation, Peer, PeerConfig, RemoteError, Switchboard};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use stubs::All;

const PATIENCE: Duration = Duration::from_secs(30);

type Function = (&'static str, &'static str);

const QUERY: Function = ("lattice:sql/sql@0.1.0", "query");
const SEND: Function = ("lattice:queue/producer@0.1.0", "send");
const DEPTH: Function = ("lattice:queue/consumer@0.1.0", "depth-of");
const INSPECT: Function = ("lattice:lock/lock@0.1.0", "inspect");
const DELETE: Function = ("lattice:schedule/scheduler@0.1.0", "delete-job");
const LIST: Function = ("lattice:schedule/scheduler@0.1.0", "list-jobs");

/// Calls as they stand on the wire, with their answers.
const ENCODED: [(Function, &[u8], &[u8]); 6] = [
    (
        QUERY,
        b"\0\0\x08SELECT ?\x01\x02\x05\x0a",
        b"\0\x01\x01n\x03int\x01\x01\x02\x05\0",
    ),
    (SEND, b"\0\x02hi\0\x01\x01k\x01v\0\0\0", b"\0\x02hi"),
    (DEPTH, b"\0", b"\0\x03\x01\x01\0\0"),
    (INSPECT, b"\0\x05chief", b"\0\x01\x03app\x07\0"),
    (DELETE, b"\x01x", b"\x01\x02"),
    (LIST, b"", b"\0\x01\x07nightly\x01\x05\0\x02\x01\x02"),
];

struct Lattice {
    _box: NatsBox,
    peer: Peer,
}

fn link(package: &str) -> ResolvedLink {
    ResolvedLink {
        source_id: "app".into(),
        target: "all".into(),
        name: "default".into(),
        wit_namespace: "lattice".into(),
        wit_package: package.into(),
        interfaces: vec![package.into()],
        source_config: StringMap::new(),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

fn invocation((instance, function): Function) -> Invocation {
    let prefix = RpcPrefix::new(&LatticeName::default(), &ComponentId::new("all").unwrap());
    let subject = prefix.invocation(instance, function);
    Invocation::new(subject, Instant::now() + PATIENCE).source("app")
}

impl Lattice {
    /// Runs a provider in the process of its caller.
    async fn start() -> Self {
        let nats_box = NatsBox::start().await.unwrap();
        let board = Switchboard::default();
        let config = PeerConfig {
            local: Some(board.clone()),
            ..PeerConfig::default()
        };
        let peer = Peer::new(nats_box.client().await.unwrap(), config);
        let lattice = Self {
            peer: peer.await.unwrap(),
            _box: nats_box,
        };
        let data = HostData {
            host_id: "N0".into(),
            lattice_rpc_prefix: "default".into(),
            lattice_rpc_url: lattice._box.url.clone().into(),
            provider_key: "all".into(),
            link_definitions: ["sql", "queue", "lock", "schedule"].map(link).into(),
            ..HostData::default()
        };
        let nats = lattice._box.client().await.unwrap();
        let stop = CancellationToken::new();
        let running = run_inside::<All>(nats, None, board, data, stop);
        tokio::spawn(async { running.await.unwrap() });
        timeout(PATIENCE, lattice.until_ready()).await.unwrap();
        lattice
    }

    /// Waits until all is served, and every link is put.
    async fn until_ready(&self) {
        let pause = Duration::from_millis(10);
        let nothing = TypeId::of::<()>();
        // What is served last.
        while !self.peer.takes_value(&invocation(LIST), nothing) {
            sleep(pause).await;
        }
        for (function, params, answer) in ENCODED {
            while self.encoded(function, params).await != answer {
                sleep(pause).await;
            }
        }
    }

    async fn encoded(&self, function: Function, params: &'static [u8]) -> Bytes {
        let called = self.peer.call(invocation(function), params.into());
        called.await.unwrap()
    }

    /// Calls with values as they are.
    async fn handed<A: Any>(&self, function: Function, params: impl Any + Send) -> A {
        let (call, params) = (invocation(function), Box::new(params));
        let Ok(called) = self.peer.call_value(&call, params).await else {
            panic!("{function:?} takes no such values");
        };
        let answer = called.unwrap().downcast::<A>();
        *answer.unwrap_or_else(|_| panic!("{function:?} answers another type"))
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Each answer is the one in [`ENCODED`], which the wire gives to the same call.
#[tokio::test]
async fn values_are_handed_over_as_they_are_and_mean_the_same_as_on_the_wire() {
    let lattice = Lattice::start().await;
    for (function, params, answer) in ENCODED {
        let encoded = lattice.encoded(function, params).await;
        assert_eq!(encoded, answer, "{function:?}");
    }
    sql(&lattice).await;
    queue(&lattice).await;
    lock(&lattice).await;
    schedule(&lattice).await;
}

async fn sql(lattice: &Lattice) {
    let (statement, values) = (text("SELECT ?"), vec![sql::Value::Int(5)]);
    let params = (text(""), None::<String>, statement, values, 10_u32);
    let rows: Result<sql::Rows, sql::Error> = lattice.handed(QUERY, params).await;
    let column = sql::Column {
        name: text("n"),
        type_name: text("int"),
    };
    let expected = sql::Rows {
        columns: vec![column],
        rows: vec![vec![sql::Value::Int(5)]],
        cursor: None,
    };
    assert_eq!(rows, Ok(expected));
}

async fn queue(lattice: &Lattice) {
    let message = queue::Message {
        body: Bytes::from_static(b"hi"),
        content_type: None,
        attributes: vec![(text("k"), text("v"))],
        dedup_id: None,
        group: None,
    };
    let params = (text(""), message, None::<u32>);
    let sent: Result<String, queue::Error> = lattice.handed(SEND, params).await;
    assert_eq!(sent, Ok(text("hi")));
    let depth: Result<queue::Depth, queue::Error> = lattice.handed(DEPTH, (text(""),)).await;
    let expected = queue::Depth {
        ready: 3,
        leased: Some(1),
        delayed: None,
        dead: None,
    };
    assert_eq!(depth, Ok(expected));
}

async fn lock(lattice: &Lattice) {
    let params = (text(""), text("chief"));
    let holder: Result<Option<lock::Holder>, lock::Error> = lattice.handed(INSPECT, params).await;
    let expected = lock::Holder {
        owner: text("app"),
        fence: 7,
        expires_in_ms: None,
    };
    assert_eq!(holder, Ok(Some(expected)));
}

async fn schedule(lattice: &Lattice) {
    let deleted: Result<(), schedule::Error> = lattice.handed(DELETE, (text("x"),)).await;
    assert_eq!(deleted, Err(schedule::Error::NoSuchJob));
    let jobs: Result<Vec<schedule::Job>, schedule::Error> = lattice.handed(LIST, ()).await;
    let nightly = schedule::Job {
        name: text("nightly"),
        trigger: schedule::Trigger::EveryMs(5),
        time_zone: None,
        payload: Bytes::from_static(&[1, 2]),
    };
    assert_eq!(jobs, Ok(vec![nightly]));
}

/// What is told of a refused call, which has not come to its handler.
fn refusal<T>(called: Result<T, CallError>) -> (String, String) {
    match called {
        Err(CallError::Remote(RemoteError { code, message, .. })) => (code, message),
        _ => panic!("it is not refused"),
    }
}

#[tokio::test]
async fn what_would_be_too_long_on_the_wire_is_refused_in_the_same_words() {
    let lattice = Lattice::start().await;
    let longest = PeerConfig::default().max_value_bytes;
    // The name of a queue, and the length of a body.
    let encoded = b"\0\x81\x80\x80\x20";
    assert_eq!(longest + 1, 1 + (0x20 << 21));
    let called = lattice
        .peer
        .call(invocation(SEND), Bytes::from_static(encoded));
    let told = refusal(called.await);
    assert_eq!(told.0, RemoteError::BAD_REQUEST);
    let sent = |len| {
        let message = queue::Message {
            body: vec![0_u8; len].into(),
            content_type: None,
            attributes: Vec::new(),
            dedup_id: None,
            group: None,
        };
        Box::new((text(""), message, None::<u32>))
    };
    let call = invocation(SEND);
    let handed = lattice.peer.call_value(&call, sent(longest + 1)).await;
    assert_eq!(refusal(handed.unwrap()), told);
    let fits = lattice.peer.call_value(&call, sent(longest)).await;
    assert!(fits.unwrap().is_ok());
}
