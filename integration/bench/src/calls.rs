//! Calls of components over the bus, as a peer makes them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::subject::RpcPrefix;
use lattice_rpc::{CallError, Invocation, Peer};

use crate::load::{Tally, closed_loop};

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A function of a running component.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) id: &'static str,
    pub(crate) instance: &'static str,
}

/// The instance of the probe that gives bytes back.
pub(crate) const PROBE: &str = "test:probe/echo@0.1.0";

/// Imports nothing: what its call costs is the cost of carrying it.
pub(crate) const SMALL: Target = Target {
    id: "echo",
    instance: "test:echo/echo",
};

/// Has a standard library and many exports, as the components of users have: its instance alone
/// takes longer.
pub(crate) const LARGE: Target = Target {
    id: "probe",
    instance: PROBE,
};

/// Calls [`SMALL`] again and again from within one call.
const REPEATER: Target = Target {
    id: "repeater",
    instance: "test:repeater/repeat",
};

/// The subject of the function `bytes`.
fn subject(id: &str, instance: &str) -> Result<String> {
    let prefix = RpcPrefix::new(&LatticeName::default(), &id.parse::<ComponentId>()?);
    Ok(prefix.invocation(instance, "bytes").to_string())
}

fn invocation(subject: &str) -> Invocation {
    let deadline = tokio::time::Instant::now() + LIMIT;
    Invocation::new(subject.to_owned(), deadline).source("bench")
}

/// A list of `size` bytes, as parameters.
fn list(size: usize) -> Bytes {
    let mut params = BytesMut::new();
    lattice_codec::write::bytes(&mut params, &vec![7; size]);
    params.freeze()
}

/// Calls a component's byte echo with `size` bytes, `in_flight` at a time.
pub(crate) async fn echo(
    peer: &Peer,
    target: Target,
    in_flight: usize,
    size: usize,
    time: Duration,
) -> Result<Tally> {
    let subject = subject(target.id, target.instance)?;
    let params = list(size);
    closed_loop(in_flight, time, |mut tally| {
        let (peer, subject, params) = (peer.clone(), subject.clone(), params.clone());
        async move {
            while tally.goes_on() {
                let result = peer.call(invocation(&subject), params.clone()).await?;
                ensure!(result == params, "the echo differs");
                tally.done();
            }
            Ok(tally)
        }
    })
    .await
}

/// Has the repeater call the echo `times` at a time with `size` bytes; counts the inner calls.
pub(crate) async fn repeat(peer: &Peer, times: u32, size: u32, time: Duration) -> Result<Tally> {
    let subject = subject(REPEATER.id, REPEATER.instance)?;
    let mut params = BytesMut::new();
    lattice_codec::write::uleb(&mut params, u64::from(times));
    lattice_codec::write::uleb(&mut params, u64::from(size));
    let params = params.freeze();
    let mut answer = BytesMut::new();
    lattice_codec::write::uleb(&mut answer, u64::from(times));
    closed_loop(2, time, |mut tally| {
        let (peer, subject) = (peer.clone(), subject.clone());
        let (params, answer) = (params.clone(), answer.clone());
        async move {
            while tally.goes_on() {
                let result = peer.call(invocation(&subject), params.clone()).await?;
                ensure!(result == answer, "some of the calls went wrong");
                tally.done_many(u64::from(times));
            }
            Ok(tally)
        }
    })
    .await
}

/// Waits until a component that was just started answers, without asking too often.
pub(crate) async fn until_answer(peer: &Peer, id: &str, instance: &str) -> Result<()> {
    let subject = subject(id, instance)?;
    let params = list(1);
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        match peer.call(invocation(&subject), params.clone()).await {
            Ok(_) => return Ok(()),
            Err(CallError::NotServed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(Instant::now() < limit, "`{id}` does not answer");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}
