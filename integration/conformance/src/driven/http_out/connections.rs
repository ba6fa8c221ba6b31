//! How servers are reached.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{fetch, refused, sender};
use crate::driven::peer::{mirror, proxy};
use crate::driven::tls::Authority;
use crate::ground::{COMPONENT, Ground};

pub(super) async fn pool(ground: &Ground) -> Result<()> {
    let id = sender(ground, "pool", json!({ "max_connections_per_host": "3" })).await?;
    let server = mirror(ground, None).await?;
    for _ in 0..5 {
        fetch(ground, &id, &server.url("/"), &[], "x").await?;
    }
    ensure!(
        server.connections() == 1,
        "{} connections",
        server.connections()
    );
    let url = server.url("/");
    let many = (0..12).map(|_| fetch(ground, &id, &url, &[], "x"));
    for answer in futures::future::join_all(many).await {
        ensure!(answer?.status == 200);
    }
    ensure!(
        server.connections() <= 3,
        "{} connections",
        server.connections()
    );
    Ok(())
}

pub(super) async fn http2(ground: &Ground) -> Result<()> {
    let prior = json!({ "http2": "prior-knowledge" });
    let id = sender(ground, "prior", prior).await?;
    let server = mirror(ground, None).await?;
    let url = server.url("/");
    let many = (0..8).map(|_| fetch(ground, &id, &url, &[], "x"));
    for answer in futures::future::join_all(many).await {
        let text = answer?.text();
        ensure!(text.contains("HTTP/2.0"), "{text}");
    }
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let roots = json!({ "ssl_certs_file": authority.file("ca.pem") });
    let id = sender(ground, "auto", roots).await?;
    for (offers, wanted) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&[], "HTTP/1.1")] {
        let server = mirror(ground, Some(authority.server("server", offers, false)?)).await?;
        let text = fetch(ground, &id, &server.secure("/"), &[], "")
            .await?
            .text();
        ensure!(text.contains(wanted), "{offers:?}: {text}");
    }
    Ok(())
}

pub(super) async fn authorities(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let server = mirror(ground, Some(authority.server("server", &[], false)?)).await?;
    refused(
        ground,
        COMPONENT,
        &server.secure("/"),
        &[],
        "TlsCertificateError",
    )
    .await?;
    let roots = json!({ "ssl_certs_file": authority.file("ca.pem") });
    let id = sender(ground, "roots", roots).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    // The certificate is for another name.
    let other = format!("https://127.0.0.1:{}/", server.address.port());
    refused(ground, &id, &other, &[], "TlsCertificateError").await
}

pub(super) async fn client_certificate(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    authority.sign("me").await?;
    let server = mirror(ground, Some(authority.server("server", &[], true)?)).await?;
    let roots = authority.file("ca.pem");
    let without = json!({ "ssl_certs_file": roots });
    let id = sender(ground, "nobody", without).await?;
    refused(ground, &id, &server.secure("/"), &[], "TlsAlertReceived").await?;
    let with = json!({
        "ssl_certs_file": roots, "client_cert_file": authority.file("me.pem"),
        "client_key_file": authority.file("me.key"),
    });
    let id = sender(ground, "somebody", with).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.status == 200, "{}", answer.text());
    Ok(())
}

pub(super) async fn proxies(ground: &Ground) -> Result<()> {
    let authority = Authority::new().await?;
    authority.sign("server").await?;
    let (one, other) = (proxy(ground).await?, proxy(ground).await?);
    let config = json!({
        "http_proxy": one.url(""), "https_proxy": other.url(""), "no_proxy": "127.0.0.1",
        "ssl_certs_file": authority.file("ca.pem"),
    });
    let id = sender(ground, "proxies", config).await?;
    let (before, before_other) = (one.connections(), other.connections());
    let answer = fetch(ground, &id, "http://there.example/x?y", &[], "").await?;
    let text = answer.text();
    ensure!(text == "proxied http://there.example/x?y", "{text}");
    ensure!(one.connections() > before, "the proxy was not asked");
    let server = mirror(ground, Some(authority.server("server", &[], false)?)).await?;
    let answer = fetch(ground, &id, &server.secure("/"), &[], "").await?;
    ensure!(answer.text().starts_with("GET / "), "{}", answer.text());
    ensure!(
        other.connections() > before_other,
        "the proxy was not asked"
    );
    let (before, server) = (one.connections(), mirror(ground, None).await?);
    fetch(ground, &id, &server.url("/"), &[], "").await?;
    ensure!(server.connections() == 1 && one.connections() == before);
    Ok(())
}
