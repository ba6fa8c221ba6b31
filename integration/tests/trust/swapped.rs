//! What a policy service is told of a file is what is proven of that very file.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lattice_claims::wasm;
use lattice_integration::policy::{Service, WITH_POLICY};
use lattice_integration::{Event, Lattice, STEP, echo, until};
use serde_json::{Value, json};

use super::claims::{Workshop, guest, now, signed, start_component, unbound};
use super::policy::denied;

/// Has the component `shop` run under other limits, and tells how that ended.
async fn limited(lattice: &Lattice, reference: &str, bytes: u32) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": reference, "component_id": "shop", "count": 1, "host_id": host,
        "component_limits": { "max_memory_limit": bytes.to_string() },
    });
    let operation = format!("component.scale.{host}");
    lattice.ctl_ok(&operation, command).await?;
    let ended = |event: &Event| event.name.starts_with("component_scale");
    lattice.events.wait_after(mark, ended, STEP).await
}

/// Whose claims the service was told when it was asked about a start for the last time.
fn told(service: &Service) -> Result<Value> {
    let asked = service.of_kind("startComponent").pop();
    Ok(asked.context("nothing was asked")?["request"]["claims"].clone())
}

#[tokio::test]
async fn a_swapped_file_is_asked_about_by_its_own_claims_when_limits_change() -> Result<()> {
    let shop = Workshop::new()?;
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    let reference = shop.file("shop.wasm", &signed(&shop.account, now())?)?;
    let event = start_component(&lattice, "shop", &reference).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    ensure!(told(&service)?["issuer"] == shop.account.public_key().as_str());

    // From here on somebody else's file stands there, which the service does not permit.
    fs::write(
        shop.path("shop.wasm"),
        signed(&shop.stranger, now())?.as_slice(),
    )?;
    service.deny(Some("startComponent"));
    let event = limited(&lattice, &reference, 50_000_000).await?;
    denied(&event, "Policy denied request", "not on Sundays")?;
    ensure!(told(&service)?["issuer"] == shop.stranger.public_key().as_str());
    echo(&lattice.peer().await?, "shop").await?;

    // With leave it runs, and the lattice learns who signed it.
    service.deny(None);
    service.change(&lattice, "startComponent", true).await?;
    let event = limited(&lattice, &reference, 50_000_000).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    until(async || {
        let claims = lattice.ctl_ok("claims.get", Value::Null).await?;
        let stranger = shop.stranger.public_key();
        let of = claims["response"].as_array().context("claims")?.iter();
        ensure!(
            { of }.any(|claims| claims["issuer"] == stranger.as_str()),
            "{claims}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_token_that_is_bound_to_no_file_proves_nothing_to_the_policy_service() -> Result<()> {
    let shop = Workshop::new()?;
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    let bytes = unbound(&shop)?;
    ensure!(wasm::find_token(&bytes)?.is_some() && bytes.len() > guest()?.len());
    let reference = shop.file("moved.wasm", &bytes)?;
    let event = start_component(&lattice, "moved", &reference).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    let data = &event.body["data"];
    ensure!(
        data["claims"].is_null() && data["public_key"].is_null(),
        "{data}"
    );
    ensure!(told(&service)?.is_null(), "{}", told(&service)?);

    echo(&lattice.peer().await?, "moved").await?;
    let call = service.of_kind("performInvocation").pop();
    let call = call.context("no call was asked about")?;
    ensure!(call["request"]["target"]["claims"].is_null(), "{call}");
    let claims = lattice.ctl_ok("claims.get", Value::Null).await?;
    ensure!(claims["response"] == json!([]), "{claims}");
    Ok(())
}
