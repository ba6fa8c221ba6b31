//! Key-value providers, called through bindings that `wit-bindgen-wrpc` makes from the WIT
//! package, and bindings served by the session.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::provider::HostData;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, LatticeName, ResolvedLink, StringMap};
use lattice_keyvalue_suite::bindings::wrpc::keyvalue::{atomics, batch, store, watcher};
use lattice_nats_box::NatsBox;
use lattice_provider_sdk::{CallContext, Client, call_error, run};
use lattice_rpc::{
    CallError, IncomingCall, Invocation, Limiter, Peer, PeerConfig, RemoteError, ServeOptions,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use memory::MemoryProvider;

const PATIENCE: Duration = Duration::from_secs(20);

struct Lattice {
    _box: NatsBox,
    peer: Peer,
    stops: Vec<CancellationToken>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

fn link(source: &str) -> ResolvedLink {
    ResolvedLink {
        source_id: source.into(),
        target: "kv".into(),
        name: "default".into(),
        wit_namespace: "wasi".into(),
        wit_package: "keyvalue".into(),
        interfaces: vec!["store".into()],
        source_config: StringMap::new(),
        target_config: StringMap::new(),
        source_secrets: None,
        target_secrets: None,
        locality: lattice_core::Locality::default(),
        rules: lattice_core::LinkRules::default(),
        ruled: false,
    }
}

impl Lattice {
    /// Runs copies of one provider.
    async fn start(copies: usize) -> Self {
        let nats_box = NatsBox::start().await.unwrap();
        let nats = nats_box.client().await.unwrap();
        let peer = Peer::new(nats, PeerConfig::default()).await.unwrap();
        let mut lattice = Self {
            peer,
            stops: Vec::new(),
            running: Vec::new(),
            _box: nats_box,
        };
        for n in 0..copies {
            let data = HostData {
                host_id: format!("N{n}"),
                lattice_rpc_prefix: "default".into(),
                lattice_rpc_url: lattice._box.url.clone().into(),
                provider_key: "kv".into(),
                link_definitions: vec![link("counter")],
                ..HostData::default()
            };
            let stop = CancellationToken::new();
            let until = stop.clone();
            let running = run::<MemoryProvider>(data, until);
            lattice
                .running
                .push(tokio::spawn(async { running.await.unwrap() }));
            lattice.stops.push(stop);
        }
        lattice.until_ready(copies).await;
        lattice
    }

    /// Waits until every copy knows its links.
    async fn until_ready(&self, copies: usize) {
        let ready = async {
            let mut in_a_row = 0;
            while in_a_row < copies * 10 {
                let got = store::get(&self.client("counter"), self.cx(), "mine", "-").await;
                in_a_row = if matches!(got, Ok(Ok(None))) {
                    in_a_row + 1
                } else {
                    0
                };
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
    }

    fn client(&self, source: &str) -> Client {
        let id = |text| ComponentId::new(text).unwrap();
        let lattice = LatticeName::default();
        Client::new(self.peer.clone(), &lattice, id(source), id("kv"), PATIENCE)
    }

    fn cx(&self) -> CallContext {
        CallContext::default()
    }

    /// Waits until a key is there.
    async fn until(&self, key: &str) {
        let kv = self.client("counter");
        let there = async { while !exists(&kv, key).await {} };
        tokio::time::timeout(PATIENCE, there).await.expect(key);
    }

    /// Calls a function with parameters that no bindings made.
    async fn refusal(&self, instance: &str, function: &str, params: &'static [u8]) -> RemoteError {
        let prefix = RpcPrefix::new(&LatticeName::default(), &ComponentId::new("kv").unwrap());
        let subject = prefix.invocation(instance, function);
        let invocation = Invocation::new(subject, Instant::now() + PATIENCE).source("counter");
        match self.peer.call(invocation, params.into()).await {
            Err(CallError::Remote(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

async fn exists(kv: &Client, key: &str) -> bool {
    let there = store::exists(kv, CallContext::default(), "mine", key).await;
    there.unwrap().unwrap()
}

#[tokio::test]
async fn every_function_answers_generated_bindings() {
    let lattice = Lattice::start(1).await;
    let (kv, cx) = (&lattice.client("counter"), || lattice.cx());
    let value = Bytes::from(vec![7; 300]);
    store::set(kv, cx(), "mine", "a", &value)
        .await
        .unwrap()
        .unwrap();
    let got = store::get(kv, cx(), "mine", "a").await.unwrap().unwrap();
    assert_eq!(got, Some(value.clone()));
    assert!(store::exists(kv, cx(), "mine", "a").await.unwrap().unwrap());
    assert!(!store::exists(kv, cx(), "mine", "b").await.unwrap().unwrap());
    for (delta, sum) in [(5, 5), (1_000, 1_005)] {
        let n = atomics::increment(kv, cx(), "mine", "n", delta)
            .await
            .unwrap();
        assert_eq!(n.unwrap(), sum);
    }
    let entries = [("c", &value), ("d", &value)];
    batch::set_many(kv, cx(), "mine", &entries)
        .await
        .unwrap()
        .unwrap();
    let many = batch::get_many(kv, cx(), "mine", &["d", "x", "c"])
        .await
        .unwrap()
        .unwrap();
    let entry = |key: &str| Some((key.to_owned(), value.clone()));
    assert_eq!(many, vec![entry("d"), None, entry("c")]);
    batch::delete_many(kv, cx(), "mine", &["c", "x"])
        .await
        .unwrap()
        .unwrap();
    store::delete(kv, cx(), "mine", "a").await.unwrap().unwrap();
    let page = store::list_keys(kv, cx(), "mine", Some(200))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.keys, ["d", "n"]);
    assert_eq!(page.cursor, Some(500));
    let page = store::list_keys(kv, cx(), "mine", None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.cursor, None);
}

#[tokio::test]
async fn errors_are_values_and_name_a_missing_link() {
    let lattice = Lattice::start(1).await;
    let kv = &lattice.client("counter");
    let cx = CallContext::default;
    let got = store::get(kv, cx(), "none", "a").await.unwrap();
    assert!(matches!(got, Err(store::Error::NoSuchStore)));
    let got = store::get(kv, cx(), "denied", "a").await.unwrap();
    assert!(matches!(got, Err(store::Error::AccessDenied)));
    let got = store::get(kv, cx(), "broken", "a").await.unwrap();
    assert!(matches!(got, Err(store::Error::Other(text)) if text == "it is broken"));
    let named = CallContext::through("second");
    let got = store::get(kv, named, "mine", "a").await.unwrap();
    let Err(store::Error::Other(text)) = got else {
        panic!("{got:?}");
    };
    assert!(
        text.contains("`counter`") && text.contains("`second`"),
        "{text}"
    );
}

#[tokio::test]
async fn bindings_are_served_and_call_on() {
    let lattice = Lattice::start(1).await;
    let (passed, mut seen) = tokio::sync::mpsc::channel(1);
    let echo = RpcPrefix::new(&LatticeName::default(), &ComponentId::new("echo").unwrap());
    let subject = echo.invocation("wrpc:keyvalue/watcher@0.2.0-draft", "on-set");
    let options = ServeOptions {
        limiter: Arc::new(Limiter::new(1, 0, PATIENCE)),
        default_deadline: PATIENCE,
        longest_deadline: PATIENCE,
        relief: lattice_rpc::Relief::default(),
        takes: None,
    };
    let handler = move |call: IncomingCall| {
        let passed = passed.clone();
        async move {
            let told = (call.context, call.params.first().clone());
            passed.send(told).await.unwrap();
            call.responder.reply(Bytes::new()).await.unwrap();
        }
    };
    let serving = lattice
        .peer
        .serve(&subject, echo.queue_group(), options, handler);
    let _serving = serving.await.unwrap();
    lattice.peer.confirm(PATIENCE).await.unwrap();
    let kv = &lattice.client("counter");
    let value = Bytes::from_static(b"v");
    let cx = CallContext::through("second");
    watcher::on_set(kv, cx, "b", "k", &value).await.unwrap();
    let (context, params) = seen.recv().await.unwrap();
    assert_eq!(context.source_id.as_deref(), Some("kv"));
    assert_eq!(context.target_id.as_deref(), Some("echo"));
    assert_eq!(&*context.link_name, "second");
    assert_eq!(params, &b"\x01b\x01k\x01v"[..]);
    let failed = watcher::on_delete(kv, lattice.cx(), "mine", "w").await;
    let error = call_error(failed.unwrap_err());
    assert!(error.to_string().contains("on purpose"), "{error}");
}

#[tokio::test]
async fn work_ends_when_its_caller_gives_up() {
    let lattice = Lattice::start(1).await;
    let kv = lattice.client("counter");
    let call = tokio::spawn(async move {
        let answer = store::get(&kv, CallContext::default(), "slow", "a").await;
        panic!("{answer:?}");
    });
    lattice.until("began").await;
    assert!(!exists(&lattice.client("counter"), "ended").await);
    call.abort();
    lattice.until("ended").await;
}

#[tokio::test]
async fn work_ends_with_its_deadline() {
    let lattice = Lattice::start(1).await;
    let cx = CallContext {
        deadline: Some(Instant::now() + Duration::from_millis(200)),
        ..lattice.cx()
    };
    let failed = store::get(&lattice.client("counter"), cx, "slow", "a").await;
    let error = call_error(failed.unwrap_err());
    let late = match &error {
        CallError::Remote(error) => error.code == RemoteError::DEADLINE,
        CallError::Deadline { .. } => true,
        _ => false,
    };
    assert!(late, "{error}");
    lattice.until("ended").await;
}

#[tokio::test]
async fn parameters_that_do_not_decode_are_refused() {
    let lattice = Lattice::start(1).await;
    let store = "wrpc:keyvalue/store@0.2.0-draft";
    for params in [&b"\x04mi"[..], b"\x02\xff\xff\x01a", b""] {
        let error = lattice.refusal(store, "get", params).await;
        assert_eq!(error.code, RemoteError::BAD_REQUEST, "{error}");
    }
    // What a list claims to hold takes no memory.
    let batch = "wrpc:keyvalue/batch@0.2.0-draft";
    let claim = b"\x04mine\xff\xff\xff\xff\x0f\x01a\x01b";
    for function in ["get-many", "set-many", "delete-many"] {
        let error = lattice.refusal(batch, function, claim).await;
        assert_eq!(error.code, RemoteError::BAD_REQUEST, "{error}");
    }
    assert!(!exists(&lattice.client("counter"), "a").await);
}

/// What passes on the server until `call` has answered and `least` messages have passed.
#[allow(clippy::disallowed_methods, reason = "it looks at the whole bus")]
async fn messages(lattice: &Lattice, least: usize, call: impl Future<Output = ()>) -> usize {
    let mut all = lattice.peer.nats().subscribe(">").await.unwrap();
    let mark = async || {
        let marked = lattice.peer.nats().publish("mark", Bytes::new()).await;
        marked.unwrap();
    };
    // Once it sees a message of its own, it sees all that follow.
    mark().await;
    assert_eq!(all.next().await.unwrap().subject.as_str(), "mark");
    call.await;
    let mut count = 0;
    while count < least {
        let next = tokio::time::timeout(PATIENCE, all.next()).await;
        next.unwrap().unwrap();
        count += 1;
    }
    mark().await;
    while all.next().await.unwrap().subject.as_str() != "mark" {
        count += 1;
    }
    count
}

#[tokio::test]
async fn a_call_is_two_messages_and_four_of_a_stock_caller() {
    let lattice = Lattice::start(1).await;
    let kv = lattice.client("counter");
    let ours = async {
        let got = store::get(&kv, lattice.cx(), "mine", "a").await;
        assert_eq!(got.unwrap().unwrap(), None);
    };
    assert_eq!(messages(&lattice, 2, ours).await, 2);
    let nats = async_nats_049::connect(&lattice._box.url).await.unwrap();
    let stock = wrpc_transport_nats_031::Client::new(nats, "default.kv", None).await;
    let stock = stock.unwrap();
    let mut headers = async_nats_049::HeaderMap::new();
    headers.insert("source-id", "counter");
    let theirs = async {
        let before = Instant::now();
        let got = store::get(&stock, Some(headers), "mine", "a").await;
        assert_eq!(got.unwrap().unwrap(), None);
        // Nothing is waited for but its messages.
        assert!(before.elapsed() < Duration::from_millis(900));
    };
    assert_eq!(messages(&lattice, 4, theirs).await, 4);
}

/// Sets keys `k0`, `k1` and so on.
async fn set_some(client: &Client, count: usize) {
    for n in 0..count {
        let (key, value) = (format!("k{n}"), Bytes::new());
        let cx = CallContext::default();
        let set = store::set(client, cx, "mine", &key, &value).await;
        set.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_share_the_calls_and_one_leaves_without_a_loss() {
    let mut lattice = Lattice::start(2).await;
    let client = lattice.client("counter");
    set_some(&client, 200).await;
    // Each copy has a memory of its own, so a page shows what came to one of them.
    let page = store::list_keys(&client, lattice.cx(), "mine", None).await;
    let count = page.unwrap().unwrap().keys.len();
    assert!(count > 20 && count < 180, "{count}");
    let calls = tokio::spawn(async move { set_some(&client, 400).await });
    tokio::task::yield_now().await;
    lattice.stops[0].cancel();
    calls.await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, &mut lattice.running[0]).await;
    ended.unwrap().unwrap();
}
