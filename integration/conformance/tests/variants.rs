//! Suites over what the catalog has no row for: other settings of a backend, and another shape of an interface.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_conformance::{
    Backend, Capability, Fault, Form, Ground, Outcome, Run, Verdict, and, find,
};
use serde_json::{Value, json};

fn known(capability: &str, backend: &str) -> (&'static Capability, &'static Backend) {
    let found = find(Some(capability), Some(backend));
    let [found] = found[..] else {
        panic!("the catalog has no {backend} for {capability}");
    };
    found
}

/// Runs all cases, none of which may fail.
async fn holds(capability: &Capability, backend: &Backend, form: Form) -> Outcome {
    let run = Run {
        capability,
        backend,
        form,
        fault: Fault::None,
        filter: "",
    };
    let outcome = run.carry_out().await.unwrap();
    assert!(!outcome.cases.is_empty(), "the suite has no cases");
    let failures = outcome.failures();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    outcome
}

fn fifo(ground: &Ground) -> Value {
    let (_, sqs) = known("queue", "sqs");
    and((sqs.config)(ground), json!({ "fifo": "true" }))
}

fn fifo_handled(ground: &Ground) -> Value {
    let (_, sqs) = known("queue", "sqs");
    let config = sqs.source_config.unwrap();
    and(config(ground), json!({ "fifo": "true" }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifo_queues_of_sqs_do_all_but_delay() {
    let (queue, sqs) = known("queue", "sqs");
    let backend = Backend {
        name: "sqs-fifo",
        config: fifo,
        source_config: Some(fifo_handled),
        ..*sqs
    };
    let outcome = holds(queue, &backend, Form::Process).await;
    let refused = outcome.cases.iter();
    let refused = refused.filter(|case| matches!(case.verdict, Verdict::Refused(_)));
    let refused: Vec<_> = refused.map(|case| case.name.as_str()).collect();
    assert_eq!(refused, ["a-delayed-message-is-not-early"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_of_spin_gets_many_keys_in_its_own_shape() {
    let (_, nats) = known("key-value-2", "nats");
    let spin = Capability {
        name: "key-value-spin",
        guest: "suite-keyvalue-spin",
        driven: &[],
        calls: "wasi:keyvalue/store,batch",
        called: "",
        backends: &[],
    };
    let outcome = holds(&spin, nats, Form::Process).await;
    let verdicts: Vec<_> = outcome.cases.iter().map(|case| &case.verdict).collect();
    assert_eq!(verdicts, [&Verdict::Passed]);
}
