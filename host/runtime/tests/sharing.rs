//! Where compiled code comes from: this runtime, the folder of this machine, another host.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lattice_claims::{KeyKind, PublicKey, SigningKey};
use lattice_runtime::{
    CodeName, CodeOffer, CodeSharing, CodeSources, CodeStore, Component, ComponentOptions, Runtime,
    RuntimeConfig,
};
use support::{FakeEnv, FakeInvoke};

const COMPILED: CodeSources = CodeSources {
    compiled: 1,
    from_disk: 0,
    from_lattice: 0,
};
const FROM_DISK: CodeSources = CodeSources {
    compiled: 0,
    from_disk: 1,
    from_lattice: 0,
};
const FROM_LATTICE: CodeSources = CodeSources {
    compiled: 0,
    from_disk: 0,
    from_lattice: 1,
};

/// Keeps entries in memory.
#[derive(Debug, Default)]
struct FakeStore {
    entries: Mutex<HashMap<CodeName, Bytes>>,
    asked: Mutex<Vec<CodeName>>,
    /// Whether questions are never answered.
    silent: bool,
}

#[async_trait]
impl CodeStore for FakeStore {
    async fn get(&self, name: &CodeName, max_bytes: usize) -> Option<Bytes> {
        if self.silent {
            std::future::pending::<()>().await;
        }
        self.asked.lock().unwrap().push(name.clone());
        let entry = self.entries.lock().unwrap().get(name).cloned()?;
        (entry.len() <= max_bytes).then_some(entry)
    }

    fn offer(&self, offer: CodeOffer) {
        let entry = offer.seal().unwrap();
        self.entries.lock().unwrap().insert(offer.name(), entry);
    }
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate(KeyKind::Cluster))
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey::parse(&key.public_key()).unwrap()
}

/// A runtime that keeps code in `folder`.
fn runtime(folder: Option<&Path>) -> Runtime {
    let config = RuntimeConfig {
        cache_dir: folder.map(Path::to_owned),
        max_instances: 4,
        max_memory_bytes: 1 << 20,
        ..RuntimeConfig::default()
    };
    Runtime::new(config).unwrap()
}

/// A runtime that signs with `key`, trusts it and keeps nothing on disk.
fn sharing(store: &Arc<FakeStore>, key: &Arc<SigningKey>) -> Runtime {
    sharing_as(store, Some(key), vec![public(key)], None)
}

fn sharing_as(
    store: &Arc<FakeStore>,
    signer: Option<&Arc<SigningKey>>,
    issuers: Vec<PublicKey>,
    folder: Option<&Path>,
) -> Runtime {
    let runtime = runtime(folder);
    runtime.share_code(CodeSharing {
        store: Arc::clone(store) as Arc<dyn CodeStore>,
        signer: signer.cloned(),
        issuers,
    });
    runtime
}

fn wasm() -> Bytes {
    support::wat(
        r#"(component
             (core module $m (func (export "f") (result i32) (i32.const 7)))
             (core instance $i (instantiate $m))
             (func (export "f") (result u32) (canon lift (core func $i "f"))))"#,
    )
}

async fn prepare(runtime: &Runtime, wasm: Bytes) -> Component {
    let invoke = FakeInvoke::unlinked();
    let env: Arc<FakeEnv> = Arc::default();
    let options = ComponentOptions::default();
    runtime.prepare(wasm, options, invoke, env).await.unwrap()
}

/// Starts the component and says where its code came from; it answers as it should.
async fn source(runtime: &Runtime) -> CodeSources {
    let component = prepare(runtime, wasm()).await;
    let answer = support::call(&component, "", "f", Bytes::new()).await;
    assert_eq!(support::as_number(answer.unwrap()), 7);
    runtime.code_sources()
}

#[tokio::test]
async fn hosts_of_one_machine_compile_once() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(source(&runtime(Some(folder.path()))).await, COMPILED);
    assert_eq!(source(&runtime(Some(folder.path()))).await, FROM_DISK);
}

#[tokio::test]
async fn hosts_that_start_the_same_at_once_compile_once() {
    let folder = tempfile::tempdir().unwrap();
    let hosts: Vec<Runtime> = (0..4).map(|_| runtime(Some(folder.path()))).collect();
    let sources = futures::future::join_all(hosts.iter().map(source)).await;
    let compiled: u64 = sources.iter().map(|sources| sources.compiled).sum();
    let from_disk: u64 = sources.iter().map(|sources| sources.from_disk).sum();
    assert_eq!((compiled, from_disk), (1, 3));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "the key and the code: {left:?}");
}

#[tokio::test]
async fn starts_of_one_host_at_once_compile_once() {
    let runtime = runtime(None);
    let _both = tokio::join!(prepare(&runtime, wasm()), prepare(&runtime, wasm()));
    assert_eq!(runtime.code_sources(), COMPILED);
}

#[tokio::test]
async fn what_one_host_compiled_another_takes_over() {
    let (store, key) = (Arc::default(), key());
    assert_eq!(source(&sharing(&store, &key)).await, COMPILED);
    assert_eq!(source(&sharing(&store, &key)).await, FROM_LATTICE);
}

#[tokio::test]
async fn what_was_taken_over_is_kept_on_disk() {
    let (store, key, folder) = (Arc::default(), key(), tempfile::tempdir().unwrap());
    source(&sharing(&store, &key)).await;
    let issuers = || vec![public(&key)];
    let first = sharing_as(&store, Some(&key), issuers(), Some(folder.path()));
    assert_eq!(source(&first).await, FROM_LATTICE);
    store.entries.lock().unwrap().clear();
    let asked = store.asked.lock().unwrap().len();
    let again = sharing_as(&store, Some(&key), issuers(), Some(folder.path()));
    assert_eq!(source(&again).await, FROM_DISK);
    // What is on disk is neither asked for nor given again.
    assert_eq!(store.asked.lock().unwrap().len(), asked);
    assert!(store.entries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_was_compiled_before_there_was_a_key_is_given_with_the_next_start() {
    let (store, key, folder) = (Arc::default(), key(), tempfile::tempdir().unwrap());
    assert_eq!(source(&runtime(Some(folder.path()))).await, COMPILED);
    let again = sharing_as(&store, Some(&key), vec![public(&key)], Some(folder.path()));
    assert_eq!(source(&again).await, FROM_DISK);
    assert_eq!(source(&sharing(&store, &key)).await, FROM_LATTICE);
}

#[tokio::test]
async fn code_of_issuers_counts_and_that_of_strangers_does_not() {
    let (store, ours, theirs) = (Arc::default(), key(), key());
    source(&sharing(&store, &theirs)).await;
    let trusting = vec![public(&ours), public(&theirs)];
    let reader = sharing_as(&store, None, trusting, None);
    assert_eq!(source(&reader).await, FROM_LATTICE);
    assert_eq!(source(&sharing(&store, &ours)).await, COMPILED);
}

#[tokio::test]
async fn who_has_no_key_gives_nothing() {
    let (store, key) = (Arc::default(), key());
    let reader = sharing_as(&store, None, vec![public(&key)], None);
    assert_eq!(source(&reader).await, COMPILED);
    assert!(store.entries.lock().unwrap().is_empty());
    assert_eq!(store.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_changed_entry_is_refused_and_replaced() {
    let (store, key) = (Arc::<FakeStore>::default(), key());
    source(&sharing(&store, &key)).await;
    let good = store.entries.lock().unwrap().clone();
    for entry in store.entries.lock().unwrap().values_mut() {
        let mut bytes = entry.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        *entry = bytes.into();
    }
    assert_eq!(source(&sharing(&store, &key)).await, COMPILED);
    assert_eq!(
        *store.entries.lock().unwrap(),
        good,
        "compiled to other bytes"
    );
}

#[tokio::test]
async fn an_entry_under_another_name_is_refused() {
    let (store, ours, theirs) = (Arc::<FakeStore>::default(), key(), key());
    source(&sharing(&store, &theirs)).await;
    let (name, entry) = store.entries.lock().unwrap().drain().next().unwrap();
    let issuer = ours.public_key();
    let renamed = CodeName { issuer, ..name };
    store.entries.lock().unwrap().insert(renamed, entry);
    assert_eq!(source(&sharing(&store, &ours)).await, COMPILED);
}

#[tokio::test]
async fn the_code_of_another_component_is_refused() {
    let (store, key) = (Arc::<FakeStore>::default(), key());
    prepare(&sharing(&store, &key), support::wat("(component)")).await;
    let foreign = store
        .entries
        .lock()
        .unwrap()
        .values()
        .next()
        .unwrap()
        .clone();
    source(&sharing(&store, &key)).await;
    for entry in store.entries.lock().unwrap().values_mut() {
        *entry = foreign.clone();
    }
    assert_eq!(source(&sharing(&store, &key)).await, COMPILED);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_nothing_holds_up_a_start_for_two_seconds() {
    let store = Arc::new(FakeStore {
        silent: true,
        ..FakeStore::default()
    });
    let runtime = sharing(&store, &key());
    let start = tokio::time::Instant::now();
    assert_eq!(source(&runtime).await, COMPILED);
    let waited = start.elapsed();
    let bounds = Duration::from_secs(2)..Duration::from_millis(2_100);
    assert!(bounds.contains(&waited), "{waited:?}");
}
