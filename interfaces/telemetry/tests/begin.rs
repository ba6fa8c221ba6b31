//! What begins a span and what is passed on. One test, since a process has one sampler.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_core::TraceContext;
use lattice_core::provider::OtelConfig;
use lattice_telemetry::{Begun, Service, TARGET, Traces, begin, is_on};
use tracing_subscriber::layer::SubscriberExt as _;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn with_parent(flags: &str, tracestate: Option<&str>) -> Begun {
    let parent = TraceContext {
        traceparent: format!("00-{TRACE}-{SPAN}-{flags}"),
        tracestate: tracestate.map(str::to_owned),
    };
    begin(
        Some(&parent),
        || tracing::info_span!(target: TARGET, "work"),
    )
}

#[tokio::test]
async fn span_begins_where_the_trace_is_sampled() {
    let config = OtelConfig {
        enable_traces: Some(true),
        traces_endpoint: Some("http://127.0.0.1:9/".to_owned()),
        traces_sampler: Some("parentbased_traceidratio".to_owned()),
        traces_sampler_arg: Some("0.5".to_owned()),
        ..OtelConfig::default()
    };
    let service = Service {
        name: "test",
        instance: "1",
        lattice: "default",
    };
    let traces = Traces::start(&config, &service).unwrap().unwrap();
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    let _current = tracing::subscriber::set_default(subscriber);

    // Off: nothing begins, and what came in is passed on.
    assert!(!is_on());
    let off = with_parent("01", None);
    assert!(off.span.is_disabled() && off.onward.is_none());

    traces.switch_on();
    let sampled = with_parent("01", Some("vendor=1"));
    assert!(!sampled.span.is_disabled());
    let onward = sampled.onward.unwrap();
    assert!(onward.traceparent.starts_with(&format!("00-{TRACE}-")));
    assert!(onward.traceparent.ends_with("-01") && !onward.traceparent.contains(SPAN));
    assert_eq!(onward.tracestate.as_deref(), Some("vendor=1"));

    let unsampled = with_parent("00", None);
    assert!(unsampled.span.is_disabled() && unsampled.onward.is_none());

    // A level that is not traced.
    let parent = TraceContext {
        traceparent: format!("00-{TRACE}-{SPAN}-01"),
        tracestate: None,
    };
    let quiet = begin(
        Some(&parent),
        || tracing::debug_span!(target: TARGET, "work"),
    );
    assert!(quiet.onward.is_none());

    roots_carry_the_id_that_was_decided_on();

    traces.end(std::time::Duration::from_millis(10)).await;
    assert!(!is_on());
}

fn roots_carry_the_id_that_was_decided_on() {
    // Whatever is current where a trace begins is not its parent.
    let outer = with_parent("01", None);
    let _inside = outer.span.enter();
    let mut sampled = 0;
    for _ in 0..200 {
        let root = begin(None, || tracing::info_span!(target: TARGET, "root"));
        let text = root.onward.unwrap().traceparent;
        assert!(!text.contains(TRACE), "{text}");
        let lower = u64::from_str_radix(&text[19..35], 16).unwrap() >> 1;
        let below = lower < 1 << 62;
        assert_eq!(text.ends_with("-01"), below, "{text}");
        assert_eq!(root.span.is_disabled(), !below, "{text}");
        sampled += u32::from(below);
    }
    assert!((50..150).contains(&sampled), "{sampled}");
}
