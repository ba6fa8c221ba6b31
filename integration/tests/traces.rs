//! Traces over process borders, as a collector sees them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use lattice_integration::{Collector, HostOptions, HttpClient, Lattice, SpanSeen, get};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A lattice whose only host has these arguments and this sampler, with the counter example, its
/// store and the HTTP server in processes of their own; and the server's address.
async fn counter(arguments: Vec<String>, sampler: &str) -> Result<(Lattice, String)> {
    let mut lattice = Lattice::start(0).await?;
    let environment = vec![("OTEL_TRACES_SAMPLER".to_owned(), sampler.to_owned())];
    let options = HostOptions {
        arguments,
        environment,
        ..HostOptions::default()
    };
    lattice.add_host(options).await?;
    lattice.run_counter(0, &[0], 10).await?;
    let address = lattice.serve_http(0, "counter").await?;
    lattice.until_status(&address, "/ready", 200).await?;
    Ok((lattice, address))
}

fn is_path(path: &str) -> impl Fn(&SpanSeen) -> bool {
    move |span| span.attributes.get("url.path").is_some_and(|of| of == path)
}

fn only<'a>(
    trace: &'a [SpanSeen],
    what: &str,
    is: impl Fn(&SpanSeen) -> bool,
) -> Result<&'a SpanSeen> {
    let all: Vec<_> = trace.iter().filter(|span| is(span)).collect();
    ensure!(all.len() == 1, "{what}: {all:#?} of {trace:#?}");
    Ok(all[0])
}

/// Checks that a request of the counter is one trace: request, component, call, store.
fn check(trace: &[SpanSeen], parent: &str) -> Result<()> {
    let of = |service: &'static str, name: &'static str| {
        move |span: &SpanSeen| span.service == service && span.name.contains(name)
    };
    let request = only(trace, "request", of("http-server", "GET"))?;
    assert_eq!(request.parent, parent);
    assert_eq!(request.attributes["http.request.method"], "GET");
    assert_eq!(request.attributes["http.response.status_code"], "200");
    assert_eq!(request.attributes["road"], "socket");
    assert_eq!(request.attributes["road.why"], "nearest");
    let component = only(trace, "component", of("lattice-host", "incoming-handler"))?;
    assert_eq!(component.parent, request.id);
    assert_eq!(component.attributes["component"], "counter");
    assert_eq!(component.attributes["caller"], "httpserver");
    let call = only(trace, "call", of("lattice-host", "increment"))?;
    assert_eq!(call.parent, component.id);
    assert_eq!(call.attributes["rpc.system"], "wrpc");
    assert_eq!(call.attributes["rpc.method"], "increment");
    assert_eq!(call.attributes["callee"], "kv");
    assert_eq!(call.attributes["road"], "socket");
    assert_eq!(call.attributes["road.why"], "nearest");
    let store = only(trace, "store", of("keyvalue-nats", "increment"))?;
    assert_eq!(store.parent, call.id);
    assert_eq!(store.attributes["caller"], "counter");
    assert_eq!(trace.len(), 4, "{trace:#?}");
    assert!(trace.iter().all(|span| !span.failed), "{trace:#?}");
    Ok(())
}

#[tokio::test]
async fn a_request_is_one_trace_over_process_borders() -> Result<()> {
    let collector = Collector::start().await?;
    let (_lattice, address) = counter(collector.arguments(), "").await?;
    assert_eq!(get(&address, "/traced").await?.0, 200);
    check(&collector.trace(4, is_path("/traced")).await?, "")
}

#[tokio::test]
async fn traces_go_over_grpc_too() -> Result<()> {
    let collector = Collector::start().await?;
    let mut arguments = collector.arguments();
    arguments.push("--observability-protocol=grpc".to_owned());
    let (_lattice, address) = counter(arguments, "parentbased_always_on").await?;
    assert_eq!(get(&address, "/traced").await?.0, 200);
    check(&collector.trace(4, is_path("/traced")).await?, "")
}

#[tokio::test]
async fn the_trace_of_a_client_goes_on_and_its_decision_counts() -> Result<()> {
    let collector = Collector::start().await?;
    let (mut lattice, address) = counter(collector.arguments(), "").await?;
    let mut client = HttpClient::connect(&address).await?;
    let mut send = async |path: &str, traceparent: String| -> Result<()> {
        let request = Request::get(path).header("traceparent", traceparent);
        let response = client.send(request.body(Full::<Bytes>::default())?).await?;
        ensure!(response.status() == 200, "{response:?}");
        Ok(())
    };
    let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let unsampled = trace.replace('0', "1");
    send("/no", format!("00-{unsampled}-{span}-00")).await?;
    send("/yes", format!("00-{trace}-{span}-01")).await?;
    check(&collector.trace(4, |seen| seen.trace == trace).await?, span)?;
    lattice.hosts[0].terminate(Duration::from_secs(15)).await?;
    let stray = collector
        .spans()
        .into_iter()
        .find(|seen| seen.trace == unsampled);
    assert_eq!(stray, None);
    Ok(())
}

#[tokio::test]
async fn the_last_traces_are_exported_when_a_host_stops() -> Result<()> {
    let collector = Collector::start().await?;
    let (mut lattice, address) = counter(collector.arguments(), "").await?;
    assert_eq!(get(&address, "/last").await?.0, 200);
    lattice.hosts[0].terminate(Duration::from_secs(15)).await?;
    let all = collector.spans();
    let last = all
        .iter()
        .find(|span| is_path("/last")(span))
        .context("no request")?;
    let trace: Vec<_> = all
        .iter()
        .filter(|span| span.trace == last.trace)
        .cloned()
        .collect();
    check(&trace, "")
}

#[tokio::test]
async fn a_failed_request_is_marked() -> Result<()> {
    let collector = Collector::start().await?;
    let (lattice, address) = counter(collector.arguments(), "").await?;
    let link = serde_json::json!({
        "source_id": "counter", "name": "default",
        "wit_namespace": "wasi", "wit_package": "keyvalue",
    });
    lattice.ctl_ok("link.del", link).await?;
    lattice.until_status(&address, "/failed", 500).await?;
    let failed = |span: &SpanSeen| span.failed && is_path("/failed")(span);
    let trace = collector.trace(2, failed).await?;
    let request = only(&trace, "request", |span| span.service == "http-server")?;
    assert_eq!(request.attributes["http.response.status_code"], "500");
    Ok(())
}

#[tokio::test]
async fn nothing_is_exported_of_what_is_not_sampled() -> Result<()> {
    let collector = Collector::start().await?;
    let (mut lattice, address) = counter(collector.arguments(), "parentbased_always_off").await?;
    for _ in 0..20 {
        assert_eq!(get(&address, "/x").await?.0, 200);
    }
    lattice.hosts[0].terminate(Duration::from_secs(15)).await?;
    assert_eq!(collector.spans(), []);
    Ok(())
}

/// Checks that no request waits for the collector, and the end of the host not for long.
async fn is_not_held_up(endpoint: String) -> Result<()> {
    let mut arguments = vec!["--enable-traces".to_owned()];
    arguments.extend(["--override-traces-endpoint".to_owned(), endpoint]);
    let (mut lattice, address) = counter(arguments, "always_on").await?;
    let mut client = HttpClient::connect(&address).await?;
    for _ in 0..200 {
        // An export takes up to ten seconds, and one is under way all the time.
        let answer = tokio::time::timeout(Duration::from_secs(3), client.get("/x")).await;
        assert_eq!(answer.context("a request was held up")??.status(), 200);
    }
    let start = Instant::now();
    lattice.hosts[0].terminate(Duration::from_secs(10)).await?;
    let end = start.elapsed();
    ensure!(end < Duration::from_secs(8), "the end took {end:?}");
    let log = lattice.hosts[0].log();
    // Its providers have ended by themselves.
    ensure!(!log.contains("killing it"), "{log}");
    ensure!(!log.contains("panicked"), "{log}");
    // One of each process at most, in the time that this takes.
    let warnings = log.matches("traces are lost").count();
    ensure!(warnings <= 3, "{warnings} warnings:\n{log}");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_nothing_up() -> Result<()> {
    let port = lattice_integration::free_port()?;
    is_not_held_up(format!("http://127.0.0.1:{port}/v1/traces")).await
}

#[tokio::test]
async fn a_collector_that_says_nothing_holds_nothing_up() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}/v1/traces", listener.local_addr()?);
    is_not_held_up(endpoint).await
}
