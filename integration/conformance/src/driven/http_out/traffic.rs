//! What goes to and fro.

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;

use super::{call, fetch, pass_on};
use crate::driven::peer::{Server, echo, mirror};
use crate::driven::web::{Answer, asking, piecewise, some, whole};
use crate::ground::{COMPONENT, Ground};

pub(super) async fn heads(ground: &Ground) -> Result<()> {
    let server = mirror(ground, None).await?;
    let headers = [
        ("x-twice", "a"),
        ("x-twice", "b"),
        ("x-odd", "tab\tand \"quote\""),
    ];
    for method in ["GET", "POST", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = asking(method, "/", &headers, "");
        let url = server.url("/a%20b/..;x?q=1&r=%2F");
        let answer = pass_on(ground, COMPONENT, &url, request).await?;
        let text = Answer::of(answer).await?.text();
        let line = format!("{method} /a%20b/..;x?q=1&r=%2F HTTP/1.1\n");
        ensure!(text.starts_with(&line), "{text}");
        for line in [
            "x-twice: a\n",
            "x-twice: b\n",
            "x-odd: tab\tand \"quote\"\n",
        ] {
            ensure!(text.contains(line), "{text}");
        }
        let host = format!("host: {}\n", server.address);
        ensure!(text.contains(&host), "{text}");
    }
    for status in [200, 201, 204, 301, 404, 418, 500, 503] {
        let server = Server::start(ground, None, move |_| async move {
            let response = Response::builder().status(status).header("x-a", "1");
            let response = response.header("x-a", "2").header("location", "/other");
            response.body(whole("")).expect("these are a response")
        });
        let server = server.await?;
        let answer = fetch(ground, COMPONENT, &server.url("/"), &[], "").await?;
        ensure!(answer.status == status, "{} for {status}", answer.status);
        ensure!(answer.values("x-a") == ["1", "2"], "{:?}", answer.headers);
        ensure!(server.connections() == 1, "it was followed");
    }
    Ok(())
}

pub(super) async fn streams(ground: &Ground) -> Result<()> {
    let server = echo(ground).await?;
    let (pieces, body) = piecewise();
    let mut request = asking("POST", "/", &[("trailer", "x-end"), ("te", "trailers")], "");
    *request.body_mut() = body;
    pieces
        .send(Frame::data(Bytes::from_static(b"begin")))
        .await?;
    let path = format!("/relay?{}", server.url("/"));
    let response = call(ground, COMPONENT, &path, request).await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    ensure!(some(&mut body, 5).await? == b"begin");
    for piece in ["one", "two", "three"] {
        pieces
            .send(Frame::data(Bytes::from_static(piece.as_bytes())))
            .await?;
        let echoed = some(&mut body, piece.len()).await?;
        ensure!(echoed == piece.as_bytes(), "{echoed:?}");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", "done".parse()?);
    pieces.send(Frame::trailers(trailers)).await?;
    drop(pieces);
    let rest = Answer::of(Response::new(body)).await?;
    ensure!(rest.body.is_empty(), "{:?}", rest.body);
    let end = rest.trailers.get("x-end");
    ensure!(end.is_some_and(|end| end == "done"), "{:?}", rest.trailers);
    Ok(())
}

pub(super) async fn large(ground: &Ground) -> Result<()> {
    let server = echo(ground).await?;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let request = asking("PUT", "/", &[], body.clone());
    let response = pass_on(ground, COMPONENT, &server.url("/"), request).await?;
    let answer = Answer::of(response).await?;
    ensure!(answer.body == body, "{} bytes came", answer.body.len());
    Ok(())
}
