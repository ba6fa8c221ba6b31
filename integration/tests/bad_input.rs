//! Bad input is refused by name with a hint and loses nothing.

use anyhow::Result;
use lattice_integration::{Lattice, STEP, component};
use serde_json::{Value, json};

async fn scale_fails(lattice: &Lattice, id: &str, reference: &str) -> Result<String> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": reference, "component_id": id, "count": 1, "host_id": host,
    });
    lattice
        .ctl(&format!("component.scale.{host}"), command)
        .await?;
    let about = |event: &lattice_integration::Event| event.data("component_id") == id;
    let event = lattice.events.wait_after(mark, about, STEP).await?;
    anyhow::ensure!(event.name == "component_scale_failed", "{event:?}");
    Ok(event.data("error").to_owned())
}

#[tokio::test]
async fn files_that_are_no_components_are_refused_by_name() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    lattice.run(0, "good", "http-hello", 1).await?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, content: &[u8]| -> Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, content)?;
        Ok(format!("file://{}", path.display()))
    };
    let missing = format!("file://{}/nothing.wasm", folder.path().display());
    let core: &[u8] = b"\0asm\x01\0\0\0";
    let truncated = &std::fs::read(component("http-hello")?.trim_start_matches("file://"))?[..5000];
    for (id, reference, says) in [
        ("missing", missing, "No such file"),
        ("text", file("text.wasm", b"hello")?, "wasm"),
        ("empty", file("empty.wasm", b"")?, "wasm"),
        ("core", file("core.wasm", core)?, "module"),
        ("cut", file("cut.wasm", truncated)?, "wasm"),
        ("registry", "ghcr.io/x/y:1".to_owned(), "registr"),
    ] {
        let error = scale_fails(&lattice, id, &reference).await?;
        assert!(
            error.to_lowercase().contains(&says.to_lowercase()),
            "{id}: {error}"
        );
    }
    let inventory = lattice
        .ctl_ok(&format!("host.get.{}", lattice.host(0)), Value::Null)
        .await?;
    let running = inventory["response"]["components"].as_array().unwrap();
    assert_eq!(running.len(), 1, "{inventory}");
    Ok(())
}

#[tokio::test]
async fn malformed_commands_are_refused() -> Result<()> {
    let lattice = Lattice::start(1).await?;
    let host = lattice.host(0);
    let scale = format!("component.scale.{host}");
    for (operation, body, says) in [
        (
            scale.as_str(),
            json!("text"),
            "failed to deserialize component scale command",
        ),
        (
            scale.as_str(),
            json!({ "component_id": 5 }),
            "failed to deserialize",
        ),
        (
            scale.as_str(),
            json!({ "component_id": "a.b", "count": 1 }),
            "a.b",
        ),
        (
            scale.as_str(),
            json!({ "component_id": "", "count": 1 }),
            "component",
        ),
        ("link.put", json!({ "source_id": "a" }), "deserialize"),
        (
            "config.put.x",
            json!(["no", "map"]),
            "config data should be a map",
        ),
        ("config.get.a.b", Value::Null, "unsupported subject"),
    ] {
        let reply = lattice.ctl(operation, body.clone()).await?;
        assert_eq!(reply["success"], false, "{operation} {body}: {reply}");
        assert!(
            reply["message"].as_str().unwrap().contains(says),
            "{operation} {body}: {reply}"
        );
    }
    for (operation, body) in [
        (
            "link.put",
            json!({
                "source_id": "a", "target": "b", "wit_namespace": "wasi", "wit_package": "http",
                "interfaces": ["incoming-handler"], "source_config": ["nothing"],
            }),
        ),
        (
            &format!("label.put.{host}"),
            json!({ "key": "hostcore.arch", "value": "x" }),
        ),
        (
            &format!("label.del.{host}"),
            json!({ "key": "hostcore.arch" }),
        ),
        (
            &format!("provider.stop.{host}"),
            json!({ "provider_id": "nothing" }),
        ),
    ] {
        let reply = lattice.ctl(operation, body).await?;
        assert_eq!(reply["success"], false, "{operation}: {reply}");
    }
    let links = lattice.ctl_ok("link.get", Value::Null).await?;
    assert_eq!(links["response"], json!([]));
    Ok(())
}

#[tokio::test]
async fn links_put_at_once_on_two_hosts_are_all_kept() -> Result<()> {
    let lattice = std::sync::Arc::new(Lattice::start(3).await?);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let lattice = std::sync::Arc::clone(&lattice);
        tasks.spawn(async move {
            lattice
                .link(
                    "source",
                    &format!("target{n}"),
                    &format!("test:pkg{n}/a"),
                    &[],
                    &[],
                )
                .await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let until = tokio::time::Instant::now() + STEP;
    loop {
        let links = lattice.ctl_ok("link.get", Value::Null).await?;
        let count = links["response"].as_array().unwrap().len();
        if count == 60 {
            return Ok(());
        }
        anyhow::ensure!(
            tokio::time::Instant::now() < until,
            "only {count} links are left"
        );
    }
}
