//! What is particular to HTTP/2: cookies in crumbs, and answers that are heads alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use support::{Http2, Lattice, PATIENCE, body_at, free_address, http2, link, text, whole};

fn asked(method: &str, address: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(Full::default())
        .unwrap()
}

/// The status of an answer, the length that it announces and its body.
async fn answered(sender: &mut Http2, request: Request<Full<Bytes>>) -> (u16, String, Bytes) {
    sender.ready().await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let (head, body) = whole(answer.unwrap().unwrap()).await;
    let length = head.headers().get("content-length");
    let length = length.map_or("", |length| length.to_str().unwrap());
    (head.status().as_u16(), length.to_owned(), body)
}

#[tokio::test]
async fn the_crumbs_of_a_cookie_reach_the_component_as_one() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("cookies", &[("address", &address)]))
        .await;
    let _component = lattice
        .component("cookies", |_, request| async move {
            let cookies = request.headers().get_all("cookie").iter();
            let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap()).collect();
            text(&cookies.join("|"))
        })
        .await;
    let (mut sender, _connection) = http2(&address).await;
    let mut request = asked("GET", &address, "/");
    for crumb in ["a=1", "session=x"] {
        let crumb = crumb.parse().unwrap();
        request.headers_mut().append("cookie", crumb);
    }
    let (_, _, seen) = answered(&mut sender, request).await;
    assert_eq!(seen, "a=1; session=x");
}

#[tokio::test]
async fn answers_that_have_no_body_have_none_over_http_2() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    let values = [("address", address.as_str()), ("path", "/{status}")];
    lattice.put_ready(&link("hello", &values)).await;
    let _component = lattice
        .component("hello", |_, request| async move {
            let mut response = text("hello");
            *response.status_mut() = request.uri().path()[1..].parse().unwrap();
            response
        })
        .await;
    let (mut sender, _connection) = http2(&address).await;
    for (method, path, status, length, body) in [
        ("GET", "/200", 200, "5", "hello"),
        ("HEAD", "/200", 200, "5", ""),
        ("GET", "/204", 204, "", ""),
        ("GET", "/304", 304, "", ""),
        // No component has this path.
        ("HEAD", "/a/b", 404, "38", ""),
    ] {
        let seen = answered(&mut sender, asked(method, &address, path)).await;
        assert_eq!(seen, (status, length.to_owned(), body.into()), "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_is_to_be_followed_by_another_one_is_refused() {
    let mut lattice = Lattice::start(&[]).await;
    let address = free_address();
    lattice
        .put_ready(&link("early", &[("address", &address)]))
        .await;
    let _component = lattice
        .component("early", |_, _| async {
            let mut response = text("");
            *response.status_mut() = http::StatusCode::EARLY_HINTS;
            response
        })
        .await;
    let (mut sender, _connection) = http2(&address).await;
    let (status, _, body) = answered(&mut sender, asked("GET", &address, "/")).await;
    assert_eq!(status, 502);
    assert!(body.starts_with(b"bad-answer"), "{body:?}");
    assert!(body_at(&address, "/").await.starts_with("bad-answer"));
}
