//! An interface of the user's own, whose providers are in Rust, in Python, and components; the link says which.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lattice_integration::{Lattice, STEP, STORE, get, workspace};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

const GREET: &str = "example:greet/greeter";

/// How many call at once while links move.
const CALLERS: usize = 4;

/// Starts everything that can greet: three providers that are linked to nobody yet.
async fn lattice() -> (Lattice, String) {
    let lattice = Lattice::start(1).await.unwrap();
    lattice
        .run(0, "client", "http-greeter-client", 20)
        .await
        .unwrap();
    lattice
        .run(0, "counting", "provider-component", 20)
        .await
        .unwrap();
    lattice.provide_store(0).await.unwrap();
    lattice
        .link("counting", "kv", STORE, &[], &[])
        .await
        .unwrap();
    lattice
        .provide(0, "rust", "provider-custom", &[])
        .await
        .unwrap();
    let script = workspace().join("examples/provider-python/greeter.py");
    lattice
        .provide_file(0, "python", &script, &[])
        .await
        .unwrap();
    let salut = json!({ "greeting": "Salut" });
    lattice.config("salut", salut).await.unwrap();
    let address = lattice.serve_http(0, "client").await.unwrap();
    (lattice, address)
}

/// Links the client to another provider. Between the two commands it has none, and its calls wait; those that were on
/// their way to the old provider when it heard of the deletion are answered there.
async fn relink(lattice: &Lattice, target: &str) {
    let old = json!({
        "source_id": "client", "name": "default", "wit_namespace": "example", "wit_package": "greet",
    });
    lattice.ctl_ok("link.del", old).await.unwrap();
    lattice
        .link("client", target, GREET, &[], &["salut"])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_greets_in_its_way_and_is_swapped_while_calls_run() {
    let (lattice, address) = lattice().await;
    relink(&lattice, "rust").await;
    let text = lattice.until_status(&address, "/Ada", 200).await.unwrap();
    assert_eq!(text, "Salut, Ada!\n");

    let mut storm = Storm::begin(&address);
    for (target, answer) in [
        ("python", "Salut, Cy!"),
        ("counting", "Welcome, Cy!"),
        ("rust", "Salut, Cy!"),
        ("counting", "Welcome back, Cy! That is visit 2."),
        ("python", "Salut, Cy!"),
        ("counting", "Welcome back, Cy! That is visit 3."),
        ("rust", "Salut, Cy!"),
        ("counting", "Welcome back, Cy! That is visit 4."),
    ] {
        relink(&lattice, target).await;
        let answered = async { while get(&address, "/Cy").await.unwrap().1.trim() != answer {} };
        if timeout(STEP, answered).await.is_err() {
            panic!("{target} did not greet:\n{}", lattice.hosts[0].log());
        }
        storm.some_calls().await;
    }
    storm.end().await;
}

/// Some who call all the time, and of whose calls none may fail.
struct Storm {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    callers: JoinSet<()>,
}

impl Storm {
    fn begin(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let address = address.to_owned();
            callers.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let (status, text) = get(&address, "/Bo").await.unwrap();
                    let is_well = status == 200 && text.contains("Bo!");
                    assert!(is_well, "{status} {text}");
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self {
            stop,
            calls,
            callers,
        }
    }

    /// Waits until a few more calls have been made.
    async fn some_calls(&mut self) {
        let before = self.calls.load(Ordering::SeqCst);
        let more = async {
            while self.calls.load(Ordering::SeqCst) < before + 20 {
                if let Some(ended) = self.callers.try_join_next() {
                    panic!("a call failed: {ended:?}");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(STEP, more).await.unwrap();
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.callers.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_through_a_link_that_says_too_little_fails_with_the_reason() {
    let (lattice, address) = lattice().await;
    lattice
        .link("client", "rust", GREET, &[], &[])
        .await
        .unwrap();
    let text = lattice.until_status(&address, "/Ada", 500).await.unwrap();
    assert!(!text.is_empty());
    let links = lattice.ctl_ok("link.get", json!(null)).await.unwrap();
    let links = links["response"].as_array().unwrap();
    let link = links.iter().find(|link| link["target"] == "rust").unwrap();
    let status = &link["status"][0];
    assert_eq!(status["state"], "failed", "{link}");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("no `greeting`"), "{reason}");
}
