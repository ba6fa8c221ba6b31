//! From a file to the first answer.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Bytes, BytesMut};
use lattice_core::id::{ComponentId, LatticeName};
use lattice_core::subject::RpcPrefix;
use lattice_integration::{HostOptions, Lattice, component};
use lattice_rpc::{CallError, Invocation, Peer};
use serde_json::json;

use crate::report::{Figure, Report, median};

/// Measures the start of a component with and without its compiled code in the cache.
pub(crate) async fn cold_start(report: &mut Report, rounds: usize) -> Result<()> {
    let mut fresh = Vec::new();
    let mut cached = Vec::new();
    for _ in 0..rounds {
        // A box of its own has an empty cache; the second host of it finds the code of the first.
        let mut lattice = Lattice::start(1).await?;
        let peer = lattice.peer().await?;
        fresh.push(first_answer(&lattice, &peer, 0, "first").await?);
        let second = lattice.add_host(HostOptions::default()).await?;
        cached.push(first_answer(&lattice, &peer, second, "second").await?);
    }
    let (fresh, cached) = (median(fresh), median(cached));
    report.add(Figure::new("cold_start", fresh, "ms"));
    let mut figure = Figure::new("cold_start_cached", cached, "ms");
    figure.ratio = Some(cached / fresh);
    figure.of = Some("cold_start".to_owned());
    report.add(figure);
    Ok(())
}

/// Milliseconds from the command to the first answer of the component.
async fn first_answer(lattice: &Lattice, peer: &Peer, host: usize, id: &str) -> Result<f64> {
    let target: ComponentId = id.parse()?;
    let prefix = RpcPrefix::new(&LatticeName::default(), &target);
    let subject = prefix.invocation("test:probe/echo@0.1.0", "bytes");
    let mut params = BytesMut::new();
    lattice_codec::write::bytes(&mut params, b"x");
    let params: Bytes = params.freeze();
    let host_id = lattice.host(host);
    let command = json!({
        "component_ref": component("probe")?, "component_id": id, "count": 10, "host_id": host_id,
    });
    let start = Instant::now();
    lattice
        .ctl_ok(&format!("component.scale.{host_id}"), command)
        .await?;
    loop {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        match peer
            .call(Invocation::new(subject.clone(), deadline), params.clone())
            .await
        {
            Ok(_) => return Ok(start.elapsed().as_secs_f64() * 1000.0),
            Err(CallError::NotServed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "no answer after a minute"
        );
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}
