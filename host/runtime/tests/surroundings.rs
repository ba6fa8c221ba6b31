//! What a guest has of its config and its log, and what changes of it while it runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use lattice_codec::write;
use lattice_core::TraceContext;
use lattice_runtime::{
    CallContext, Component, ComponentOptions, HostEnv, LogLevel, LogRecord, LogSource, Reuse,
    SecretError, SecretText,
};
use support::{FakeInvoke, as_number, encoded, find, guest, runtime, wat};

/// A line as it was logged.
#[derive(Debug, Clone)]
struct Line {
    source: LogSource,
    text: String,
    call: String,
    trace: String,
    is_wanted: bool,
}

/// Surroundings whose config changes.
#[derive(Default)]
struct Surroundings {
    config: Mutex<Arc<IndexMap<String, String>>>,
    /// The least level of the host's log.
    least: Option<LogLevel>,
    lines: Mutex<Vec<Line>>,
}

impl Surroundings {
    fn set(&self, values: &[(&str, &str)]) {
        let pair = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
        *self.config.lock().unwrap() = Arc::new(values.iter().map(pair).collect());
    }

    /// Takes the lines that were logged so far.
    fn lines(&self) -> Vec<Line> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }
}

impl HostEnv for Surroundings {
    fn component_id(&self) -> &str {
        "test"
    }

    fn config(&self) -> Arc<IndexMap<String, String>> {
        Arc::clone(&self.config.lock().unwrap())
    }

    fn secret(&self, _: &str) -> Result<SecretText, SecretError> {
        Err(SecretError::NotFound)
    }

    fn has_link(&self, _: &str, _: &str) -> bool {
        false
    }

    fn link_version(&self, _: &str, _: &str) -> Option<u64> {
        None
    }

    fn writes(&self, level: LogLevel) -> bool {
        self.least.is_none_or(|least| level >= least)
    }

    fn log(&self, record: LogRecord<'_>) {
        if !record.is_wanted && !self.writes(record.level) {
            return;
        }
        self.lines.lock().unwrap().push(Line {
            source: record.source,
            text: format!("{:?} {}", record.level, record.message),
            call: record.call.to_owned(),
            trace: record.trace.to_owned(),
            is_wanted: record.is_wanted,
        });
    }
}

async fn prepare(text: &str, env: &Arc<Surroundings>, reuse: bool) -> Component {
    prepare_wasm(wat(text), env, reuse).await
}

async fn prepare_wasm(wasm: Bytes, env: &Arc<Surroundings>, reuse: bool) -> Component {
    let options = ComponentOptions {
        reuse: reuse.then(Reuse::default),
        ..ComponentOptions::default()
    };
    let prepared = runtime().prepare(wasm, options, FakeInvoke::unlinked(), env.clone());
    prepared.await.unwrap()
}

async fn call(component: &Component, function: &str, cx: CallContext) -> Bytes {
    let export = find(component, "", function);
    component.call(&export, cx, Bytes::new()).await.unwrap()
}

fn soon() -> CallContext {
    CallContext::within(Duration::from_secs(10))
}

/// A guest that returns the value of `k` from an interface.
fn reader(interface: &str) -> String {
    r#"(component
      (import "INTERFACE" (instance $config
        (type $error (variant (case "upstream" string) (case "io" string)))
        (export "error" (type $e (eq $error)))
        (export "get" (func (param "key" string)
          (result (result (option string) (error $e)))))))
      (core module $memory
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 1024))
        (data (i32.const 0) "k")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
          (local.set $at (i32.and
            (i32.add (global.get $next) (i32.sub (local.get 2) (i32.const 1)))
            (i32.sub (i32.const 0) (local.get 2))))
          (global.set $next (i32.add (local.get $at) (local.get 3)))
          (local.get $at)))
      (core instance $memory (instantiate $memory))
      (core func $get (canon lower (func $config "get")
        (memory (core memory $memory "memory"))
        (realloc (core func $memory "realloc"))))
      (core module $m
        (import "" "get" (func $get (param i32 i32 i32)))
        (import "" "memory" (memory 1))
        (func (export "run") (result i32)
          (call $get (i32.const 0) (i32.const 1) (i32.const 64))
          ;; The length of the text, or 100 when there is none.
          (if (result i32) (i32.load8_u (i32.const 68))
            (then (i32.load (i32.const 76)))
            (else (i32.const 100)))))
      (core instance $i (instantiate $m (with "" (instance
        (export "get" (func $get))
        (export "memory" (memory $memory "memory"))))))
      (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
        .replace("INTERFACE", interface)
}

#[tokio::test]
async fn each_shape_of_config_sees_a_change_with_the_next_call() {
    for interface in [
        "wasi:config/runtime@0.2.0-draft",
        "wasi:config/store@0.2.0-draft",
        "wasi:config/store@0.2.0-draft-2024-09-27",
        "wasi:config/store@0.2.0-rc.1",
    ] {
        for reuse in [false, true] {
            let env = Arc::new(Surroundings::default());
            let component = prepare(&reader(interface), &env, reuse).await;
            for (values, length) in [
                (&[][..], 100),
                (&[("k", "abc")][..], 3),
                (&[("k", "abcdef"), ("other", "x")][..], 6),
                (&[("other", "x")][..], 100),
            ] {
                env.set(values);
                let told = call(&component, "run", soon()).await;
                assert_eq!(&told[..], [length], "{interface} {values:?} {reuse}");
            }
        }
    }
}

/// A guest that logs one line of each level, or 5000 lines.
const LOGGER: &str = r#"(component
  (import "wasi:logging/logging" (instance $logging
    (type $level (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $l (eq $level)))
    (export "log" (func (param "level" $l) (param "context" string) (param "message" string)))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 0) "hello"))
  (core instance $memory (instantiate $memory))
  (core func $log (canon lower (func $logging "log")
    (memory (core memory $memory "memory"))))
  (core module $m
    (import "" "log" (func $log (param i32 i32 i32 i32 i32)))
    (func $one (param $level i32)
      (call $log (local.get $level) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 5)))
    (func (export "each") (local $n i32)
      (loop $again
        (call $one (local.get $n))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 6)))))
    (func (export "flood") (local $n i32)
      (loop $again
        (call $one (i32.const 2))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 5000))))))
  (core instance $i (instantiate $m (with "" (instance (export "log" (func $log))))))
  (func (export "each") (canon lift (core func $i "each")))
  (func (export "flood") (canon lift (core func $i "flood"))))"#;

#[tokio::test]
async fn the_level_of_a_log_changes_while_the_component_runs() {
    let env = Arc::new(Surroundings::default());
    let component = prepare(LOGGER, &env, true).await;
    call(&component, "each", soon()).await;
    let lines = env.lines();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| !line.is_wanted), "{lines:?}");
    env.set(&[("log_level", "error")]);
    call(&component, "each", soon()).await;
    let lines = env.lines();
    assert!(lines.iter().all(|line| line.is_wanted), "{lines:?}");
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["Error hello", "Critical hello"]);
    env.set(&[("log_level", "off")]);
    call(&component, "each", soon()).await;
    assert!(env.texts().is_empty());
    env.set(&[("log_level", "loud")]);
    call(&component, "each", soon()).await;
    let texts = env.texts();
    assert_eq!(texts.len(), 7);
    assert!(texts[0].contains("`log_level` = `loud`"), "{texts:?}");
    env.set(&[("log_level", "trace")]);
    call(&component, "each", soon()).await;
    assert_eq!(env.texts().len(), 6);
}

#[tokio::test]
async fn lines_of_one_call_have_its_number_and_trace() {
    let env = Arc::new(Surroundings::default());
    let component = prepare(LOGGER, &env, true).await;
    let mut numbers = Vec::new();
    for trace in ["", "0af7651916cd43dd8448eb211c80319c"] {
        let mut cx = soon();
        if !trace.is_empty() {
            cx.trace = Some(TraceContext {
                traceparent: format!("00-{trace}-b7ad6b7169203331-01"),
                tracestate: None,
            });
        }
        call(&component, "each", cx).await;
        let lines = env.lines();
        assert!(lines.iter().all(|line| line.trace == trace), "{lines:?}");
        assert!(lines.iter().all(|line| line.call == lines[0].call));
        assert_eq!(lines[0].call.len(), 16);
        numbers.push(lines[0].call.clone());
    }
    assert_ne!(numbers[0], numbers[1]);
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_what_is_left_out_is_counted() {
    let env = Arc::new(Surroundings::default());
    env.set(&[("log_rate", "100")]);
    let component = prepare(LOGGER, &env, false).await;
    call(&component, "flood", soon()).await;
    let mut lines = env.lines();
    // The count comes with a later call, but not more often than once a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    env.set(&[("log_rate", "100"), ("log_level", "off")]);
    call(&component, "each", soon()).await;
    lines.extend(env.lines());
    let (told, written): (Vec<_>, Vec<_>) = lines
        .into_iter()
        .partition(|line| line.source == LogSource::Runtime);
    let left_out: usize = told
        .iter()
        .map(|line| {
            let words: Vec<_> = line.text.split(' ').collect();
            words[3].parse::<usize>().unwrap()
        })
        .sum();
    assert!(
        written.len() >= 100 && written.len() < 1000,
        "{}",
        written.len()
    );
    assert_eq!(written.len() + left_out, 5000);
    env.set(&[("log_rate", "0")]);
    call(&component, "flood", soon()).await;
    assert_eq!(env.lines().len(), 5000);
}

#[tokio::test]
async fn lines_below_the_level_of_the_host_take_no_room_from_those_above() {
    let env = Arc::new(Surroundings {
        least: Some(LogLevel::Error),
        ..Surroundings::default()
    });
    let component = prepare(LOGGER, &env, true).await;
    call(&component, "flood", soon()).await;
    call(&component, "each", soon()).await;
    assert_eq!(env.texts(), ["Error hello", "Critical hello"]);
}

/// Has the probe write as many lines to its standard error.
async fn print_errors(component: &Component, count: u64, cx: CallContext) {
    let export = find(component, "test:probe/behave@0.1.0", "print-error");
    let params = encoded(|out| {
        write::string(out, "x");
        write::uleb(out, count);
    });
    component.call(&export, cx, params).await.unwrap();
}

#[tokio::test]
async fn lines_of_standard_error_are_those_of_a_call_and_obey_the_config() {
    let env = Arc::new(Surroundings::default());
    let component = prepare_wasm(guest("probe"), &env, true).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut calls = Vec::new();
    for trace in [trace, ""] {
        let mut cx = soon();
        cx.trace = (!trace.is_empty()).then(|| TraceContext {
            traceparent: format!("00-{trace}-b7ad6b7169203331-01"),
            tracestate: None,
        });
        print_errors(&component, 2, cx).await;
        let lines = env.lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert_eq!((line.source, &*line.trace), (LogSource::Stderr, trace));
            assert_eq!(line.call.len(), 16);
            calls.push(line.call);
        }
    }
    assert!(calls[0] == calls[1] && calls[1] != calls[2], "{calls:?}");
    env.set(&[("log_level", "warn")]);
    print_errors(&component, 2, soon()).await;
    assert!(env.texts().is_empty());
    env.set(&[("log_rate", "10")]);
    print_errors(&component, 5000, soon()).await;
    let lines = env.lines();
    let of_stderr = |line: &&Line| line.source == LogSource::Stderr;
    let written = lines.iter().filter(of_stderr).count();
    assert!((10..500).contains(&written), "{written}");
}

#[tokio::test]
async fn time_does_not_go_back_between_the_calls_of_an_instance() {
    let source = r#"(component
      (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (export "now" (func (result u64)))))
      (core func $now (canon lower (func $clock "now")))
      (core module $m
        (import "" "now" (func $now (result i64)))
        (func (export "now") (result i64) (call $now))
        (func (export "later") (result i64) (local $end i64)
          (local.set $end (i64.add (call $now) (i64.const 20000000)))
          (loop $again (br_if $again (i64.lt_u (call $now) (local.get $end))))
          (call $now)))
      (core instance $i (instantiate $m (with "" (instance (export "now" (func $now))))))
      (func (export "now") (result u64) (canon lift (core func $i "now")))
      (func (export "later") (result u64) (canon lift (core func $i "later"))))"#;
    let component = prepare(source, &Arc::default(), true).await;
    let mut before = 0;
    for function in ["later", "now", "later", "now"] {
        let time = as_number(call(&component, function, soon()).await);
        assert!(time >= before, "{time} after {before}");
        assert_eq!(component.kept_instances(), 1);
        before = time;
    }
}
