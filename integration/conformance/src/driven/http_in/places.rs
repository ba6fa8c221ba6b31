//! Where components are found.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use lattice_integration::until;
use serde_json::json;
use tokio::net::TcpStream;

use super::{listen, probe, road_to, serve, serve_at};
use crate::driven::tls::Authority;
use crate::driven::web::{Answer, Web, ask, asking, get, secure};
use crate::ground::{COMPONENT, Ground, PROVIDER};

pub(super) async fn tls(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("one").await?;
    authority.sign("two").await?;
    let show = |name: &str| -> Result<()> {
        // The key first: a half of each pair is noticed, and the old one stays in use.
        for end in ["key", "pem"] {
            let to = authority.path(&format!("shown.{end}"));
            fs::copy(authority.path(&format!("{name}.{end}")), to)?;
        }
        Ok(())
    };
    show("one")?;
    let config = json!({
        "tls_cert_file": authority.file("shown.pem"), "tls_priv_key_file": authority.file("shown.key"),
    });
    let address = probe(ground, "tls", config).await?;
    for (offers, wanted) in [(&["h2", "http/1.1"][..], "h2"), (&["http/1.1"], "http/1.1")] {
        let stream = secure(&address, authority.client(offers)?).await?;
        let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        ensure!(
            spoken.as_deref() == Some(wanted.as_bytes()),
            "{spoken:?} for {wanted}"
        );
        let target = format!("https://{address}/request");
        let mut request = asking("GET", &target, &[], "");
        request.headers_mut().insert("host", address.parse()?);
        let mut web = Web::secure(stream).await?;
        let answer = web.send(request).await?;
        let text = Answer::of(answer).await?.text();
        ensure!(text.contains("scheme https\n"), "{text}");
    }
    show("two")?;
    let renewed = authority.certificate("two.pem")?;
    until(async || {
        let stream = secure(&address, authority.client(&[])?).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown
            .and_then(|chain| chain.first())
            .context("no certificate")?;
        ensure!(*shown == renewed, "the old certificate is shown");
        Ok(())
    })
    .await
}

pub(super) async fn routes(ground: &Ground) -> Result<()> {
    let listening = listen(ground, "any", COMPONENT, json!({})).await?;
    ground.run_with("in-other", "http-probe", &[]).await?;
    let places = [
        ("template", json!({ "path": "/request/{id}" })),
        ("rest", json!({ "path": "/request/files/{rest...}" })),
        ("host", json!({ "host": "shop.example" })),
    ];
    for (name, config) in places {
        serve_at(ground, &listening, name, "in-other", config).await?;
    }
    let address = road_to(ground, &listening).await?;
    let told = async |host: &str, path: &str| -> Result<String> {
        let headers = [("host", host), ("x-path-id", "forged")];
        Ok(ask(&address, asking("GET", path, &headers, ""))
            .await?
            .text())
    };
    let text = told("a.example", "/request/7").await?;
    ensure!(
        text.contains("header x-path-id: 7\n") && !text.contains("forged"),
        "{text}"
    );
    let text = told("a.example", "/request/files/a/b").await?;
    ensure!(text.contains("header x-path-rest: a/b\n"), "{text}");
    // Neither a template nor a host: the link without a place.
    let text = told("a.example", "/request").await?;
    ensure!(text.contains("header x-path-id: forged\n"), "{text}");
    // Each is a component of its own, which counts its requests by itself.
    let of_host = told("shop.example", "/request/x/y/z").await?;
    ensure!(of_host.contains("authority shop.example\n"), "{of_host}");
    Ok(())
}

pub(super) async fn deletion(ground: &Ground) -> Result<()> {
    let address = listen(ground, "deletion", COMPONENT, json!({})).await?;
    ensure!(ask(&address, get("/")).await?.status == 200);
    let link = json!({
        "source_id": PROVIDER, "name": "deletion", "wit_namespace": "wasi", "wit_package": "http",
    });
    ground.lattice.ctl_ok("link.del", link).await?;
    until(async || match TcpStream::connect(&address).await {
        Ok(_) => bail!("somebody still listens at {address}"),
        Err(_) => Ok(()),
    })
    .await?;
    let again = probe(ground, "deletion-again", json!({})).await?;
    ensure!(ask(&again, get("/")).await?.status == 200);
    Ok(())
}

pub(super) async fn nowhere(ground: &Ground) -> Result<()> {
    let address = serve(ground, "nowhere", "in-late", json!({})).await?;
    let answer = ask(&address, get("/")).await?;
    ensure!(
        answer.status == 503 && answer.text().contains("not-served"),
        "{} {}",
        answer.status,
        answer.text()
    );
    ensure!(
        !answer.values("retry-after").is_empty(),
        "{:?}",
        answer.headers
    );
    ground.run_with("in-late", "http-probe", &[]).await?;
    until(async || {
        let answer = ask(&address, get("/")).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(())
    })
    .await
}
