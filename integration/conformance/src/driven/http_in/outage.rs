//! A server whose process is killed while clients ask, and that its host starts again.

use anyhow::{Result, bail, ensure};
use lattice_integration::until;
use serde_json::json;
use tokio::net::TcpStream;

use super::{listen, serve_at};
use crate::driven::load::{End, Load};
use crate::driven::web::{Answer, Web, ask, asking, get, some};
use crate::fault::Strike;
use crate::ground::{COMPONENT, PROVIDER};

pub(super) async fn again(strike: &mut Strike<'_>) -> Result<()> {
    let address = listen(strike.ground, "again", COMPONENT, json!({})).await?;
    let asked = address.clone();
    let load = Load::begin(move || {
        let address = asked.clone();
        async move {
            match ask(&address, get("/")).await {
                Ok(answer) if answer.status == 200 && answer.text() == "ok\n" => End::Well,
                Ok(answer) => End::Broken(format!("{} {}", answer.status, answer.text())),
                Err(error) => End::Explained(format!("{error:#}")),
            }
        }
    })
    .await?;
    strike.down().await?;
    load.until_explained().await?;
    strike.up().await?;
    load.until_as_before().await
}

pub(super) async fn cut(strike: &mut Strike<'_>) -> Result<()> {
    let address = listen(strike.ground, "cut", COMPONENT, json!({})).await?;
    let mut begun = Vec::new();
    for mut web in [Web::one(&address).await?, Web::two(&address).await?] {
        let target = format!("http://{address}/slow/1000/50");
        let mut request = asking("GET", &target, &[], "");
        request.headers_mut().insert("host", address.parse()?);
        let mut response = web.send(request).await?;
        some(response.body_mut(), 1).await?;
        begun.push((web, response));
    }
    strike.down().await?;
    for (_web, response) in begun {
        let version = response.version();
        let rest = Answer::of(response).await;
        ensure!(rest.is_err(), "{version:?} ends as if that were all");
    }
    strike.up().await?;
    until_answered(&address).await
}

pub(super) async fn changed(strike: &mut Strike<'_>) -> Result<()> {
    let address = listen(strike.ground, "kept", COMPONENT, json!({})).await?;
    let gone = listen(strike.ground, "gone", COMPONENT, json!({})).await?;
    strike.down().await?;
    let ground = &*strike.ground;
    let link = json!({
        "source_id": PROVIDER, "name": "gone", "wit_namespace": "wasi", "wit_package": "http",
    });
    ground.lattice.ctl_ok("link.del", link).await?;
    let methods = json!({ "methods": "PUT", "address": address });
    ground.lattice.config("in-kept", methods).await?;
    let path = json!({ "path": "/calls" });
    serve_at(ground, &address, "more", COMPONENT, path).await?;
    strike.down_again().await?;
    strike.up().await?;
    until(async || {
        let told = [get("/"), asking("PUT", "/", &[], ""), get("/calls")];
        for (request, status) in told.into_iter().zip([405, 200, 200]) {
            let answer = ask(&address, request).await?;
            ensure!(
                answer.status == status,
                "{} {}",
                answer.status,
                answer.text()
            );
        }
        Ok(())
    })
    .await?;
    ensure!(
        TcpStream::connect(&gone).await.is_err(),
        "somebody listens at {gone} again"
    );
    Ok(())
}

/// Waits until requests are answered.
async fn until_answered(address: &str) -> Result<()> {
    until(async || match ask(address, get("/")).await?.status {
        200 => Ok(()),
        other => bail!("{address} answers {other}"),
    })
    .await
}
