//! What happens to guests that take too much, fail, or run too long.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_codec::write;
use lattice_runtime::{
    CallContext, CallError, ComponentOptions, LogSource, PrepareError, Runtime, RuntimeConfig,
};
use support::{
    FakeEnv, FakeInvoke, LONG, as_number, as_text, behave, call, encoded, find, guest, number,
    prepare, prepare_in, probe, runtime, text,
};
use tokio::time::{Instant, timeout};

fn budget(milliseconds: u64) -> ComponentOptions {
    ComponentOptions {
        cpu_budget: Some(Duration::from_millis(milliseconds)),
        ..ComponentOptions::default()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_endless_loop_ends_at_its_budget_and_others_go_on_meanwhile() {
    let spinner = probe(budget(300)).await;
    let other = probe(ComponentOptions::default()).await;
    let spinning = tokio::spawn(async move { behave(&spinner, "spin", "".into()).await });
    // On one thread the others only get on because the loop yields.
    let mut answered = 0;
    while !spinning.is_finished() {
        let echoed = call(&other, "test:probe/echo@0.1.0", "text", text("hi"))
            .await
            .unwrap();
        assert_eq!(as_text(echoed), "hi");
        answered += 1;
    }
    let ended = spinning.await.unwrap();
    assert!(matches!(ended, Err(CallError::CpuBudget { budget }) if budget.as_millis() == 300));
    assert!(
        answered > 2,
        "only {answered} calls were answered meanwhile"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn waiting_does_not_count_against_the_budget() {
    let component = probe(budget(100)).await;
    behave(&component, "sleep", number(400)).await.unwrap();
    let burned = behave(&component, "burn", number(2000)).await;
    assert!(
        matches!(burned, Err(CallError::CpuBudget { .. })),
        "{burned:?}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_call_ends_at_its_deadline_whether_it_is_busy_or_waits() {
    let component = probe(ComponentOptions::default()).await;
    for (function, params) in [("spin", "".into()), ("sleep", number(60_000))] {
        let export = find(&component, "test:probe/behave@0.1.0", function);
        let start = Instant::now();
        let ended = component
            .call(
                &export,
                CallContext::within(Duration::from_millis(200)),
                params,
            )
            .await;
        assert!(
            matches!(ended, Err(CallError::Deadline)),
            "{function}: {ended:?}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{function}: {:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn memory_beyond_the_limit_is_refused_and_named() {
    let options = ComponentOptions {
        max_memory_bytes: Some(16 << 20),
        ..ComponentOptions::default()
    };
    let component = probe(options).await;
    let ended = behave(&component, "allocate-forever", "".into()).await;
    assert!(
        matches!(ended, Err(CallError::Memory { wanted, limit }) if limit == 16 << 20 && wanted > limit),
        "{ended:?}"
    );
    let allocated = behave(&component, "allocate", number(8 << 20))
        .await
        .unwrap();
    assert_eq!(as_number(allocated), 8 << 20);
}

#[tokio::test]
async fn endless_recursion_is_a_stack_overflow() {
    let component = probe(ComponentOptions::default()).await;
    let ended = behave(&component, "overflow-stack", "".into()).await;
    assert!(matches!(ended, Err(CallError::StackOverflow)), "{ended:?}");
}

#[tokio::test]
async fn a_trap_says_why_and_where_and_its_panic_message_is_logged() {
    let env = Arc::new(FakeEnv::default());
    let options = ComponentOptions::default();
    let component = prepare_in(guest("probe"), options, FakeInvoke::unlinked(), env.clone()).await;
    let ended = behave(&component, "trap", text("out of cheese")).await;
    let Err(CallError::Trap { message, backtrace }) = ended else {
        panic!("{ended:?}")
    };
    assert!(message.contains("unreachable"), "{message}");
    assert!(!backtrace.is_empty());
    let lines = env.lines(LogSource::Stderr);
    assert!(
        lines.iter().any(|line| line.contains("out of cheese")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn every_call_has_fresh_state() {
    let component = probe(ComponentOptions::default()).await;
    for _ in 0..3 {
        let calls = behave(&component, "calls-of-this-instance", "".into())
            .await
            .unwrap();
        assert_eq!(as_number(calls), 1);
    }
}

#[tokio::test]
async fn stderr_is_logged_up_to_its_limit_and_stdout_is_not() {
    let env = Arc::new(FakeEnv::default());
    let options = ComponentOptions {
        stderr_bytes: 1000,
        ..ComponentOptions::default()
    };
    let component = prepare_in(guest("probe"), options, FakeInvoke::unlinked(), env.clone()).await;
    let print = |line: &str| {
        encoded(|out| {
            write::string(out, line);
            write::uleb(out, 10_000);
        })
    };
    behave(&component, "print", print("to stdout"))
        .await
        .unwrap();
    assert_eq!(env.logged(), []);
    behave(&component, "print-error", print("to stderr"))
        .await
        .unwrap();
    let lines = env.lines(LogSource::Stderr);
    assert!((100..=300).contains(&lines.len()), "{}", lines.len());
    assert!(env.lines(LogSource::Runtime)[0].contains("left out"));
}

#[tokio::test]
async fn a_call_that_is_given_up_takes_its_instance_and_permit_with_it() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let component = probe(ComponentOptions::default()).await;
    let released = Arc::new(AtomicBool::new(false));
    let export = find(&component, "test:probe/behave@0.1.0", "sleep");
    let cx = CallContext::within(LONG).holding(Guard(released.clone()));
    let call = component.call(&export, cx, number(60_000));
    assert!(timeout(Duration::from_millis(100), call).await.is_err());
    assert!(released.load(Ordering::SeqCst));
}

#[tokio::test]
async fn more_instances_than_there_is_room_for_are_refused() {
    let config = RuntimeConfig {
        max_instances: 1,
        ..RuntimeConfig::default()
    };
    let small = Runtime::new(config).unwrap();
    let component = small
        .prepare(
            guest("probe"),
            ComponentOptions::default(),
            FakeInvoke::unlinked(),
            Arc::<FakeEnv>::default(),
        )
        .await
        .unwrap();
    let sleeper = component.clone();
    let sleeping = tokio::spawn(async move {
        // The one instance may be taken by a call of below when this one asks for it.
        while let Err(CallError::NoRoom) = behave(&sleeper, "sleep", number(60_000)).await {
            tokio::task::yield_now().await;
        }
    });
    let mut refused = behave(&component, "now", "".into()).await;
    // Until the sleeper has its instance there is still room.
    while refused.is_ok() {
        tokio::task::yield_now().await;
        refused = behave(&component, "now", "".into()).await;
    }
    assert!(matches!(refused, Err(CallError::NoRoom)), "{refused:?}");
    sleeping.abort();
    assert!(sleeping.await.unwrap_err().is_cancelled());
    behave(&component, "now", "".into()).await.unwrap();
}

#[tokio::test]
async fn exit_ends_the_call_with_its_code() {
    let component = prepare(
        guest("sandbox"),
        ComponentOptions::default(),
        FakeInvoke::unlinked(),
    )
    .await;
    let code = encoded(|out| write::sleb(out, 3));
    let ended = call(&component, "test:sandbox/reach@0.1.0", "exit", code).await;
    // `wasi:cli/exit` only tells success from failure.
    assert!(
        matches!(ended, Err(CallError::Exit { code: 1 })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn malformed_parameters_are_refused_without_an_instance() {
    let component = probe(ComponentOptions::default()).await;
    let bomb = encoded(|out| {
        write::uleb(out, u64::from(u32::MAX));
        out.resize(26, 1);
    });
    for function in ["text", "texts", "numbers", "people"] {
        for params in [bomb.clone(), "".into(), encoded(|out| out.resize(40, 0))] {
            let ended = call(&component, "test:probe/echo@0.1.0", function, params).await;
            assert!(
                matches!(ended, Err(CallError::Params { .. })),
                "{function}: {ended:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_export_of_another_component_is_refused() {
    let (one, two) = (
        probe(ComponentOptions::default()).await,
        probe(ComponentOptions::default()).await,
    );
    let export = find(&one, "test:probe/behave@0.1.0", "now");
    let ended = two
        .call(&export, CallContext::within(LONG), "".into())
        .await;
    assert!(
        matches!(ended, Err(CallError::WrongExport { .. })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused() {
    let config = RuntimeConfig {
        max_component_bytes: 100,
        max_instances: 1,
        ..RuntimeConfig::default()
    };
    let refused = Runtime::new(config)
        .unwrap()
        .prepare(
            guest("probe"),
            ComponentOptions::default(),
            FakeInvoke::unlinked(),
            Arc::<FakeEnv>::default(),
        )
        .await;
    assert!(
        matches!(refused, Err(PrepareError::TooLarge { limit: 100, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_no_component_is_refused() {
    for (bytes, word) in [
        (&b"hello"[..], "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "component-type"),
    ] {
        let prepared = runtime()
            .prepare(
                bytes.to_vec().into(),
                ComponentOptions::default(),
                FakeInvoke::unlinked(),
                Arc::<FakeEnv>::default(),
            )
            .await;
        let error = prepared.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_machine_without_the_page_map_scan_runs_guests_all_the_same() {
    let config = RuntimeConfig {
        use_pagemap_scan: false,
        max_instances: 2,
        ..RuntimeConfig::default()
    };
    let plain = Runtime::new(config).unwrap();
    assert!(!plain.choices().pagemap_scan);
    let component = plain
        .prepare(
            guest("probe"),
            ComponentOptions::default(),
            FakeInvoke::unlinked(),
            Arc::<FakeEnv>::default(),
        )
        .await
        .unwrap();
    for _ in 0..3 {
        let calls = behave(&component, "calls-of-this-instance", "".into())
            .await
            .unwrap();
        assert_eq!(as_number(calls), 1);
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    for (config, setting) in [
        (
            RuntimeConfig {
                max_instances: 0,
                ..RuntimeConfig::default()
            },
            "max_instances",
        ),
        (
            RuntimeConfig {
                max_memory_bytes: 1,
                ..RuntimeConfig::default()
            },
            "max_memory_bytes",
        ),
        (
            RuntimeConfig {
                tick: Duration::ZERO,
                ..RuntimeConfig::default()
            },
            "tick",
        ),
        (
            RuntimeConfig {
                max_compilations: 0,
                ..RuntimeConfig::default()
            },
            "max_compilations",
        ),
    ] {
        let error = Runtime::new(config).unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
}
