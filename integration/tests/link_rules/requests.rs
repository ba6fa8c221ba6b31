//! Where HTTP requests go.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::scene::{ROADS, Road, Scene, server};

const HTTP: &str = "wasi:http/outgoing-handler";

#[tokio::test]
async fn requests_go_where_the_link_says_over_every_road() -> Result<()> {
    for road in ROADS {
        let of = Scene::start(road).await?;
        of.lattice
            .provide(0, "client", "http-client-provider", &[])
            .await?;
        let (other, _other) = server("200 OK").await?;
        let moved = format!("302 Found\r\nlocation: http://{other}/");
        let (named, _named) = server(&moved).await?;
        let rules = json!({"to": [format!("GET http://{named}/v1")]});
        of.link("client", HTTP, road, rules).await?;
        let answer = of.does("http", &["GET", "http", &named, "/v1/x"]).await?;
        // A redirect is the guest's to follow, and stands under the same rules then.
        ensure!(
            answer == format!("302 http://{other}/"),
            "{road:?}: {answer}"
        );
        for [method, scheme, authority, path] in [
            ["GET", "http", &other, "/"],
            ["POST", "http", &named, "/v1/x"],
            ["GET", "https", &named, "/v1/x"],
            ["GET", "http", &named, "/v2"],
            ["GET", "http", &named, "/v1/../v2"],
            ["GET", "http", "169.254.169.254", "/latest/meta-data/"],
        ] {
            let names = [method, scheme, authority, path];
            let told = of.refused("http", &names, "HttpRequestDenied").await;
            told.with_context(|| format!("{road:?}"))?;
        }
        let wanted = format!("`--to 'GET http://{other}'` would let it through");
        let denial = of.denial(&wanted).await?;
        ensure!(denial["code"] == "forbidden", "{denial}");
        of.link("client", HTTP, road, json!({"read_only": true}))
            .await?;
        of.does("http", &["GET", "http", &other, "/"]).await?;
        of.refused(
            "http",
            &["DELETE", "http", &other, "/"],
            "HttpRequestDenied",
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_target_denies_is_an_event_that_names_the_grant() -> Result<()> {
    let of = Scene::start(Road::Socket).await?;
    of.lattice
        .provide(0, "client", "http-client-provider", &[])
        .await?;
    let (address, _server) = server("200 OK").await?;
    // As 1.x has it: anywhere, and only metadata services are shut.
    of.link("client", HTTP, Road::Socket, json!({})).await?;
    ensure!(of.does("http", &["GET", "http", &address, "/"]).await? == "200");
    for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "2852039166"] {
        let names = ["GET", "http", host, "/latest/meta-data/secret"];
        of.refused("http", &names, "DestinationIpProhibited")
            .await?;
    }
    let denial = of.denial("`GET http://169.254.169.254`").await?;
    ensure!(denial["code"] == "forbidden", "{denial}");
    ensure!(!denial.to_string().contains("secret"), "{denial}");
    Ok(())
}
