//! An interface of the user's own, whose providers are in Rust, in Python, and components; the link says which.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use lattice_integration::{Lattice, STEP, STORE, get, workspace};
use serde_json::json;
use tokio::time::timeout;

const GREET: &str = "example:greet/greeter";

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

/// Links the client to another provider. Between the two commands it has none.
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

    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let storm = tokio::spawn({
        let (stop, calls, address) = (Arc::clone(&stop), Arc::clone(&calls), address.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                match get(&address, "/Bo").await.unwrap() {
                    (200, text) => assert!(text.contains("Bo!"), "{text}"),
                    // There is no link at this moment, or not yet at the provider.
                    (status, text) => assert!(text.contains("link"), "{status} {text}"),
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for (target, answer) in [
        ("python", "Salut, Cy!\n"),
        ("counting", "Welcome, Cy!\n"),
        ("rust", "Salut, Cy!\n"),
        ("counting", "Welcome back, Cy!"),
    ] {
        let before = calls.load(Ordering::Relaxed);
        relink(&lattice, target).await;
        let answered = async {
            loop {
                let (_, text) = get(&address, "/Cy").await.unwrap();
                if text.starts_with(answer) && calls.load(Ordering::Relaxed) > before {
                    break;
                }
                // Visits count, so whoever greets first must not be asked again.
                assert!(
                    !text.starts_with("Welcome,") || answer.starts_with("Salut"),
                    "{text}"
                );
            }
        };
        if timeout(STEP, answered).await.is_err() {
            panic!("{target} did not greet:\n{}", lattice.hosts[0].log());
        }
    }
    stop.store(true, Ordering::Relaxed);
    storm.await.unwrap();
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
