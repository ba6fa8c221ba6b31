//! A policy service is asked before anything starts or is called, and without its leave nothing is.

#![expect(
    clippy::disallowed_methods,
    reason = "answers hosts as a policy service does"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use lattice_integration::policy::{CHANGES, Service, TOPIC, WITH_POLICY};
use lattice_integration::{
    ECHO, Event, Lattice, STEP, call, component, echo, get, program, text, until,
};
use lattice_rpc::{CallError, Peer, RemoteError};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

async fn scaled(lattice: &Lattice, id: &str, count: u32) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": component("probe")?, "component_id": id, "count": count,
        "host_id": host, "annotations": { "team": "shop" },
    });
    lattice
        .ctl_ok(&format!("component.scale.{host}"), command)
        .await?;
    let ended = |event: &Event| {
        event.name.starts_with("component_scale") && event.data("component_id") == id
    };
    lattice.events.wait_after(mark, ended, STEP).await
}

async fn provided(lattice: &Lattice, id: &str) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let path = program("keyvalue-memory-provider")?;
    let command = json!({
        "provider_id": id, "provider_ref": format!("file://{}", path.display()),
        "host_id": host, "annotations": {},
    });
    lattice
        .ctl_ok(&format!("provider.start.{host}"), command)
        .await?;
    let ended =
        |event: &Event| event.name.starts_with("provider_start") && event.data("provider_id") == id;
    lattice.events.wait_after(mark, ended, STEP).await
}

pub(super) fn denied(event: &Event, begins: &str, part: &str) -> Result<()> {
    ensure!(event.name.ends_with("_failed"), "{}", event.body);
    ensure!(event.data("code") == "policy-denied", "{}", event.body);
    ensure!(event.data("error").starts_with(begins), "{}", event.body);
    ensure!(event.data("error").contains(part), "{}", event.body);
    ensure!(!event.data("hint").is_empty(), "{}", event.body);
    Ok(())
}

/// The call is refused with a typed error.
async fn call_denied(peer: &Peer, id: &str, part: &str) -> Result<()> {
    let answer = call(peer, id, ECHO, text("x"), 10_000).await;
    match answer {
        Err(CallError::Remote(error)) if error.code == RemoteError::DENIED => {
            ensure!(error.message.contains(part), "{error:?}");
            ensure!(error.hint.is_some(), "{error:?}");
            Ok(())
        }
        other => anyhow::bail!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn requests_are_those_of_the_protocol_page() -> Result<()> {
    let lattice = Lattice::start_host(&[&WITH_POLICY[..], &["--label", "zone=a"]].concat()).await?;
    let service = Service::start(&lattice).await?;
    let event = scaled(&lattice, "probe", 3).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    let event = provided(&lattice, "kv").await?;
    ensure!(event.name == "provider_started", "{}", event.body);
    echo(&lattice.peer().await?, "probe").await?;

    let labels = lattice.inventory(0).await?["labels"].clone();
    ensure!(labels["zone"] == "a", "{labels}");
    let expected = |kind: &str, asked: &Value, about: Value| {
        json!({
            "requestId": asked["requestId"], "kind": kind, "version": "v1",
            "host": { "publicKey": lattice.host(0), "lattice": "default", "labels": labels },
            "request": about,
        })
    };
    let target = |count: u32| -> Result<Value> {
        Ok(json!({
            "componentId": "probe", "imageRef": component("probe")?, "maxInstances": count,
            "annotations": { "team": "shop" }, "claims": null,
        }))
    };
    let path = program("keyvalue-memory-provider")?;
    for (kind, about) in [
        ("startComponent", target(3)?),
        (
            "startProvider",
            json!({
                "providerId": "kv", "imageRef": path.display().to_string(), "annotations": {},
                "claims": null,
            }),
        ),
        (
            "performInvocation",
            json!({
                "interface": "test:probe/echo@0.1.0", "function": "text", "target": target(0)?,
            }),
        ),
    ] {
        let asked = service.of_kind(kind);
        ensure!(asked.len() == 1, "{kind}: {asked:?}");
        let id = asked[0]["requestId"].as_str().unwrap_or_default();
        ensure!(id.len() == 36, "no UUID: {id}");
        assert_eq!(asked[0], expected(kind, &asked[0], about));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_denied_does_not_start_and_the_rest_does() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    service.deny(Some("startComponent"));
    let event = scaled(&lattice, "probe", 1).await?;
    let begins = "Policy denied request to scale component";
    denied(&event, begins, "not on Sundays")?;
    service.deny(Some("startProvider"));
    let event = provided(&lattice, "kv").await?;
    denied(
        &event,
        "Policy denied request to start provider",
        "not on Sundays",
    )?;
    // A decision holds for a while; another number of instances is another question.
    denied(
        &scaled(&lattice, "probe", 1).await?,
        begins,
        "not on Sundays",
    )?;
    let event = scaled(&lattice, "probe", 2).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    echo(&lattice.peer().await?, "probe").await.map(drop)
}

#[tokio::test]
async fn a_decision_about_calls_is_asked_for_once_and_again_for_other_labels() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    scaled(&lattice, "probe", 10).await?;
    let peer = lattice.peer().await?;
    let calls = (0..20).map(|_| echo(&peer, "probe"));
    for answer in futures::future::join_all(calls).await {
        answer?;
    }
    ensure!(service.of_kind("performInvocation").len() == 1);
    let operation = format!("label.put.{}", lattice.host(0));
    lattice
        .ctl_ok(&operation, json!({ "key": "zone", "value": "b" }))
        .await?;
    echo(&peer, "probe").await?;
    let asked = service.of_kind("performInvocation");
    ensure!(asked.len() == 2, "{asked:?}");
    ensure!(asked[1]["host"]["labels"]["zone"] == "b", "{}", asked[1]);
    Ok(())
}

#[tokio::test]
async fn a_decision_that_is_taken_back_counts_no_longer() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    scaled(&lattice, "probe", 1).await?;
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    service.change(&lattice, "performInvocation", false).await?;
    let mark = lattice.events.len();
    call_denied(&peer, "probe", "changed my mind").await?;
    let told =
        |event: &Event| event.name == "invocation_failed" && event.data("code") == "policy-denied";
    lattice.events.wait_after(mark, told, STEP).await?;
    service.change(&lattice, "performInvocation", true).await?;
    echo(&peer, "probe").await?;

    // What runs goes on; it is not started so again.
    service.change(&lattice, "startComponent", false).await?;
    echo(&peer, "probe").await?;
    scaled(&lattice, "probe", 0).await?;
    let event = scaled(&lattice, "probe", 1).await?;
    let begins = "Policy denied request to scale component";
    denied(&event, begins, "changed my mind")?;
    // Whoever makes up a request changes nothing.
    let forged = json!({ "requestId": "x", "permitted": true });
    lattice
        .client
        .publish(CHANGES, forged.to_string().into())
        .await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    denied(
        &scaled(&lattice, "probe", 1).await?,
        begins,
        "changed my mind",
    )
}

#[tokio::test]
async fn no_answer_is_no_leave() -> Result<()> {
    let arguments = [&WITH_POLICY[..], &["--policy-timeout-ms", "300"]].concat();
    let lattice = Lattice::start_host(&arguments).await?;
    let begins = "Policy denied request to scale component";
    let nobody = scaled(&lattice, "probe", 1).await?;
    denied(
        &nobody,
        begins,
        "no policy service answers at `test.policy`",
    )?;

    let mut silent = lattice.client.subscribe(TOPIC).await?;
    lattice_nats_box::taken_in(&lattice.client).await?;
    let late = scaled(&lattice, "probe", 2).await?;
    denied(&late, begins, "did not answer within 300ms")?;
    let request = silent.next().await.context("a request")?;
    ensure!(request.reply.is_some());

    let other = json!({ "requestId": "other", "permitted": true }).to_string();
    for (count, answer, counts) in [(3, "yes".to_owned(), false), (4, other, true)] {
        let answers = async {
            let request = silent.next().await.context("a request")?;
            let reply = request.reply.context("a reply subject")?;
            Ok(lattice.client.publish(reply, answer.into()).await?)
        };
        let (event, answered): (_, Result<()>) =
            tokio::join!(scaled(&lattice, "probe", count), answers);
        answered?;
        // As in 1.9, which does not compare the ids.
        match counts {
            true => ensure!(event?.name == "component_scaled"),
            false => denied(&event?, begins, "gave no valid answer")?,
        }
    }
    drop(silent);
    // A service that is there again is asked again.
    let _service = Service::start(&lattice).await?;
    until(async || {
        let event = scaled(&lattice, "probe", 5).await?;
        ensure!(event.name == "component_scaled", "{}", event.body);
        Ok(())
    })
    .await?;
    echo(&lattice.peer().await?, "probe").await.map(drop)
}

/// `wash policy serve` over a file of rules.
struct Reference {
    rules: PathBuf,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Reference {
    async fn start(lattice: &Lattice, rules: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("lattice-policy-")
            .tempdir()?;
        let file = folder.path().join("rules.toml");
        std::fs::write(&file, rules)?;
        let process = Command::new(program("wash")?)
            .args(["policy", "serve"])
            .arg(&file)
            .args(["--topic", TOPIC, "--changes-topic", CHANGES])
            .args(["--ctl-port", &lattice.nats.port.to_string()])
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            rules: file,
            _process: process,
            _folder: folder,
        })
    }

    fn rules(&self, text: &str) -> Result<()> {
        // Put there whole, as an editor does.
        let beside = self.rules.with_extension("new");
        std::fs::write(&beside, text)?;
        Ok(std::fs::rename(&beside, &self.rules as &Path)?)
    }
}

#[tokio::test]
async fn the_reference_service_decides_by_its_rules_and_tells_of_changes() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let open = "default = \"allow\"\n[[rule]]\nid = \"evil*\"\ndecision = \"deny\"\n\
                message = \"no evil here\"\n";
    let service = Reference::start(&lattice, open).await?;
    // The service is there when it is asked with success.
    until(async || {
        let event = scaled(&lattice, "probe", 1).await?;
        ensure!(event.name == "component_scaled", "{}", event.body);
        Ok(())
    })
    .await?;
    let evil = scaled(&lattice, "evil-twin", 1).await?;
    let begins = "Policy denied request to scale component";
    denied(&evil, begins, "no evil here")?;
    let peer = lattice.peer().await?;
    echo(&peer, "probe").await?;
    service.rules(&format!(
        "{open}[[rule]]\nkind = \"performInvocation\"\nfunction = \"text\"\ndecision = \"deny\"\n"
    ))?;
    until(async || call_denied(&peer, "probe", "not why").await).await?;
    service.rules(open)?;
    until(async || echo(&peer, "probe").await.map(drop)).await
}

#[tokio::test]
async fn a_scale_to_another_image_is_asked_for_as_what_will_run() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    let event = scaled(&lattice, "probe", 3).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    let (host, mark, other) = (
        lattice.host(0),
        lattice.events.len(),
        component("http-hello")?,
    );
    let command = json!({
        "component_ref": other, "component_id": "probe", "count": 7, "host_id": host,
        "allow_update": true,
    });
    lattice
        .ctl_ok(&format!("component.scale.{host}"), command)
        .await?;
    let ended = |event: &Event| {
        event.name.starts_with("component_scale") && event.data("component_id") == "probe"
    };
    let event = lattice.events.wait_after(mark, ended, STEP).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    let asked = service.of_kind("startComponent");
    let about: Vec<_> = asked
        .iter()
        .skip(1)
        .map(|asked| &asked["request"])
        .collect();
    ensure!(about.len() == 1, "{about:?}");
    ensure!(about[0]["imageRef"] == other, "{}", about[0]);
    ensure!(about[0]["maxInstances"] == 7, "{}", about[0]);
    Ok(())
}

#[tokio::test]
async fn a_denied_request_is_403_over_http() -> Result<()> {
    let lattice = Lattice::start_host(&WITH_POLICY).await?;
    let service = Service::start(&lattice).await?;
    lattice.run(0, "hello", "http-hello", 10).await?;
    let address = lattice.serve_http(0, "hello").await?;
    lattice.until_status(&address, "/", 200).await?;
    service.change(&lattice, "performInvocation", false).await?;
    let (status, body) = get(&address, "/").await?;
    ensure!(
        status == 403 && body.starts_with("denied"),
        "{status}: {body}"
    );
    service.change(&lattice, "performInvocation", true).await?;
    let (status, body) = get(&address, "/").await?;
    ensure!(status == 200, "{status}: {body}");
    Ok(())
}
