//! Callers that leave, stop reading, or never hear an answer (R2, R6, R12, A1 to A5).

#![expect(clippy::disallowed_methods, reason = "a test speaks the wire itself")]

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_core::Locality;
use lattice_integration::{
    ECHO, HANDLE, HostOptions, Lattice, Monitored, SLEEP, begin, call, get, growth_allowed, number,
    subject, text, texts, until, usage,
};
use lattice_rpc::{CallError, RemoteError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::support::{answers_at_once, leave, stand_in};

const RELAYED_SLEEP: &str = "test:caller/relay@0.1.0.sleep";
const RELAYED_TEXT: &str = "test:caller/relay@0.1.0.text";

/// A lattice of one host whose calls take the bus, also those between processes of this machine.
async fn over_nats() -> Result<Lattice> {
    let mut lattice = Lattice::start(1).await?;
    lattice.locality = Locality::Spread;
    Ok(lattice)
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_instance_back_at_once() -> Result<()> {
    leaves_an_instance(over_nats().await?).await
}

#[tokio::test]
async fn so_does_one_whose_request_went_by_the_socket() -> Result<()> {
    leaves_an_instance(Lattice::start(1).await?).await
}

async fn leaves_an_instance(lattice: Lattice) -> Result<()> {
    lattice.run(0, "web", "http-probe", 1).await?;
    let address = lattice.serve_http(0, "web").await?;
    lattice.until_status(&address, "/", 200).await?;
    for head in [
        "GET /wait/60000 HTTP/1.1",
        "GET /slow/1000/100 HTTP/1.1",
        // The guest waits for a body of which nothing comes.
        "POST /length HTTP/1.1\r\ncontent-length: 1000",
        "POST /echo HTTP/1.1\r\ntransfer-encoding: chunked",
    ] {
        let mut calls = lattice.calls("web", HANDLE).await?;
        let stream = begin(&address, head).await?;
        // What goes by the socket is not seen.
        if lattice.locality == Locality::Spread {
            calls.begun(1).await?;
        }
        // Long enough for the guest to have begun.
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(stream);
        let before = Instant::now();
        lattice
            .until_status(&address, "/", 200)
            .await
            .context(head)?;
        ensure!(
            before.elapsed() < Duration::from_secs(2),
            "{head}: {:?}",
            before.elapsed()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_1_9_caller_that_leaves_holds_its_instance_until_the_deadline_only() -> Result<()> {
    let lattice = Lattice::start_host(&["--call-timeout-ms", "1500"]).await?;
    lattice.run(0, "probe", "probe", 1).await?;
    let peer = lattice.peer().await?;
    answers_at_once(&peer, "probe").await?;
    let before = Instant::now();
    leave(&lattice, subject("probe", SLEEP), number(60_000)).await?;
    until(async || answers_at_once(&peer, "probe").await).await?;
    let took = before.elapsed();
    // Before that the instance was held: the call has begun.
    assert!(took > Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn a_cancelled_call_ends_on_every_hop() -> Result<()> {
    // On one host the call would not be on the bus, where it is watched.
    let lattice = Lattice::start(2).await?;
    lattice.run(1, "probe", "probe", 1).await?;
    lattice.run_caller("probe", 1).await?;
    let peer = lattice.peer().await?;
    let relayed = async |ms| {
        let echo = call(&peer, "caller", RELAYED_TEXT, text("x"), ms).await?;
        ensure!(echo == text("x"), "{echo:?}");
        Ok(())
    };
    until(async || relayed(5000).await).await?;
    let mut calls = lattice.calls("probe", SLEEP).await?;
    let sleeping = tokio::spawn({
        let peer = peer.clone();
        async move { call(&peer, "caller", RELAYED_SLEEP, number(60_000), 60_000).await }
    });
    calls.begun(1).await?;
    sleeping.abort();
    let before = Instant::now();
    until(async || relayed(2000).await).await?;
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "{:?}",
        before.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_reader_that_stops_stalls_no_other_call() -> Result<()> {
    stops_to_read(over_nats().await?).await
}

#[tokio::test]
async fn nor_does_one_on_the_socket() -> Result<()> {
    stops_to_read(Lattice::start(1).await?).await
}

async fn stops_to_read(lattice: Lattice) -> Result<()> {
    lattice.run(0, "web", "http-probe", 50).await?;
    let address = lattice.serve_http(0, "web").await?;
    lattice.until_status(&address, "/", 200).await?;
    let pids = [
        lattice.hosts[0].pid().context("the host runs")?,
        lattice.hosts[0].provider_pid("http-server-provider")?,
    ];
    let resident = |pid: u32| usage(pid).map(|usage| usage.resident);
    let before = [resident(pids[0])?, resident(pids[1])?];
    let mut stuck = Vec::new();
    for _ in 0..5 {
        let mut stream = begin(&address, "GET /stream/1000000000 HTTP/1.1").await?;
        stream.read_exact(&mut [0; 1000]).await?;
        stuck.push(stream);
    }
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(get(&address, "/").await?.0, 200);
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    for (pid, before) in pids.into_iter().zip(before) {
        let now = resident(pid)?;
        assert!(
            now < before + (128 << 20),
            "{pid} grew from {before} to {now}"
        );
    }
    Ok(())
}

/// Takes calls as a 1.9 callee does, and is never heard of again.
async fn mute(lattice: &Lattice, id: &str, function: &str) -> Result<()> {
    let mut calls = lattice.client.subscribe(subject(id, function)).await?;
    let client = lattice.client.clone();
    tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            if let Some(caller) = call.reply {
                let own = client.new_inbox();
                let accepted = client.publish_with_reply(caller, own, Bytes::new());
                accepted.await.expect("the test is connected");
            }
        }
    });
    Ok(lattice.client.flush().await?)
}

#[tokio::test]
async fn a_target_that_accepts_and_falls_silent_fails_the_call_in_time() -> Result<()> {
    let lattice = Lattice::start_host(&["--max-execution-time-ms", "1500"]).await?;
    mute(&lattice, "mute", ECHO).await?;
    lattice.run_caller("mute", 1).await?;
    let peer = lattice.peer().await?;
    // This caller has far more patience: it is the host that has to end the call.
    let in_vain = async || {
        let before = Instant::now();
        let answer = call(&peer, "caller", RELAYED_TEXT, text("x"), 20_000).await;
        let (error, took) = (answer.unwrap_err(), before.elapsed());
        assert!(took < Duration::from_secs(4), "{took:?}: {error}");
        match error {
            CallError::Remote(error) if error.code == RemoteError::DEADLINE => Ok(()),
            other => bail!("not a call that came to its deadline: {other:?}"),
        }
    };
    // The host learns of the link through its watch.
    until(async || in_vain().await).await?;
    // The only instance has been given back, so that the next call has its turn.
    in_vain().await
}

/// What a component does that leaves the body of its request alone and calls a target that says nothing.
async fn with_a_body_that_nobody_reads(lattice: Lattice) -> Result<()> {
    mute(&lattice, "silent", ">").await?;
    lattice
        .run(0, "counter", "http-keyvalue-counter", 10)
        .await?;
    let keyvalue = "wasi:keyvalue/store,atomics";
    lattice
        .link("counter", "silent", keyvalue, &[], &[])
        .await?;
    let address = lattice.serve_http(0, "counter").await?;
    // Who is first at the end of the time is chance: the component, which is told of it and answers with
    // that, or the server.
    let is_late = |status: &str| ["500", "504"].contains(&status);
    until(async || {
        let (status, text) = get(&address, "/").await?;
        ensure!(is_late(&status.to_string()), "{status}");
        ensure!(text.contains("deadline"), "{text}");
        Ok(())
    })
    .await?;
    let mut stream = begin(&address, "POST / HTTP/1.1\r\ncontent-length: 10000000").await?;
    let started = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let mut answer = [0; 12];
    let all = vec![b'x'; 10_000_000];
    tokio::select! {
        read = reader.read_exact(&mut answer) => drop(read?),
        // It is not all taken, and what is left of it may be refused.
        () = async { drop(writer.write_all(&all).await); std::future::pending().await } => {}
    }
    let took = started.elapsed();
    let status = String::from_utf8_lossy(&answer[9..]);
    assert!(is_late(&status), "{status}");
    assert!(took > Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(7), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn a_long_body_that_nobody_reads_gives_no_more_time_than_none() -> Result<()> {
    with_a_body_that_nobody_reads(over_nats().await?).await
}

#[tokio::test]
async fn nor_does_one_that_came_by_the_socket() -> Result<()> {
    with_a_body_that_nobody_reads(Lattice::start(1).await?).await
}

#[tokio::test]
async fn calls_under_way_and_calls_in_vain_make_no_subscriptions() -> Result<()> {
    let mut bed = Monitored::start().await?;
    let lattice = &mut bed.lattice;
    let elsewhere = lattice.add_host(HostOptions::default()).await?;
    lattice.run(elsewhere, "probe", "probe", 50).await?;
    let lattice = &bed.lattice;
    mute(lattice, "mute", ECHO).await?;
    lattice.run_caller("probe", 100).await?;
    let vain = |target: &str| {
        serde_json::json!({
            "source_id": "caller", "target": target, "name": "vain", "wit_namespace": "test",
            "wit_package": "probe", "interfaces": ["echo"],
        })
    };
    lattice.ctl_ok("link.put", vain("mute")).await?;
    let peer = lattice.peer().await?;
    until(async || {
        Ok(call(&peer, "caller", RELAYED_SLEEP, number(1), 5000)
            .await
            .map(drop)?)
    })
    .await?;
    let mut served = lattice.calls("probe", SLEEP).await?;
    let mut muted = lattice.calls("mute", ECHO).await?;
    let idle = bed.settled_subscriptions().await?;
    let over_vain = params_over("vain");
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (peer, vain) = (peer.clone(), over_vain.clone());
        calls.spawn(async move {
            const OVER: &str = "test:caller/relay@0.1.0.text-over-link";
            match n % 2 {
                0 => call(&peer, "caller", RELAYED_SLEEP, number(1500), 5000).await,
                _ => call(&peer, "caller", OVER, vain, 2000).await,
            }
        });
    }
    served.begun(20).await?;
    muted.begun(20).await?;
    assert_eq!(
        bed.subscriptions().await?,
        idle,
        "while 40 calls are under way"
    );
    let mut failed = 0;
    while let Some(done) = calls.join_next().await {
        failed += usize::from(matches!(
            done?,
            Err(CallError::Remote(_) | CallError::Deadline { .. })
        ));
    }
    assert_eq!(failed, 20);
    assert_eq!(bed.subscriptions().await?, idle, "after calls in vain");
    Ok(())
}

fn params_over(link: &str) -> Bytes {
    texts(&[link, "x"])
}

#[tokio::test]
async fn a_provider_does_not_grow_with_its_calls() -> Result<()> {
    const GET: &str = "wrpc:keyvalue/store@0.2.0-draft.get";
    const SET: &str = "wrpc:keyvalue/store@0.2.0-draft.set";
    let calls: u64 = match std::env::var("LATTICE_SOAK_CALLS") {
        Ok(calls) => calls.parse()?,
        Err(_) => 20_000,
    };
    let lattice = Lattice::start(1).await?;
    lattice.provide_store(0).await?;
    let pid = lattice.hosts[0].provider_pid("keyvalue-nats-provider")?;
    lattice
        .link("test", "kv", "wasi:keyvalue/store", &[], &[])
        .await?;
    lattice.until_ready(1).await?;
    let peer = lattice.peer().await?;
    let set = call(&peer, "kv", SET, texts(&["", "key", "value"]), 5000).await?;
    ensure!(set == [0_u8][..], "{set:?}");
    // That there is one, and which.
    let found = [&[0_u8, 1][..], &text("value")[..]].concat();
    let batch = async |count: u64| -> Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let (peer, found) = (peer.clone(), found.clone());
            tasks.spawn(async move {
                for _ in 0..count / 64 {
                    let params = texts(&["", "key"]);
                    let answer = call(&peer, "kv", GET, params, 20_000).await?;
                    ensure!(answer == found, "{answer:?}");
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    };
    // The first calls fill pools and caches that stay.
    batch(6_400).await?;
    let before = usage(pid)?.resident;
    batch(calls).await?;
    let grown = usage(pid)?.resident.saturating_sub(before);
    // The leak of old providers was above half a kilobyte for each call.
    assert!(
        grown < growth_allowed(calls),
        "the provider grew by {grown} bytes in {calls} calls"
    );
    Ok(())
}

#[tokio::test]
async fn an_http_request_that_nobody_answers_ends_in_time() -> Result<()> {
    let lattice = Lattice::start_host(&["--call-timeout-ms", "1500"]).await?;
    let fake = lattice.peer().await?;
    let _serving = stand_in(&fake, "web", HANDLE, |call| async move {
        let _call = call;
        std::future::pending::<()>().await;
    })
    .await?;
    let address = lattice.serve_http(0, "web").await?;
    let before = Instant::now();
    let (status, text) = get(&address, "/").await?;
    assert_eq!(status, 504, "{text}");
    assert!(
        before.elapsed() < Duration::from_secs(8),
        "{:?}",
        before.elapsed()
    );
    Ok(())
}
