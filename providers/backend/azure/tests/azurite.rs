//! Against Azurite, which checks signatures as Azure does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use lattice_azure::{Azure, AzureOptions, AzureRequest, Kind};
use lattice_backend_http::{HttpBackend, HttpOptions, Retry, encode};
use lattice_services::Service;

const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");

fn azure(kind: Kind, endpoint: &str, key: Option<&str>) -> Azure {
    let options = AzureOptions::read(kind, |name| match name {
        "STORAGE_ACCOUNT" => Some("devstoreaccount1".to_owned()),
        "STORAGE_ACCESS_KEY" => key.map(str::to_owned),
        "endpoint" => Some(endpoint.to_owned()),
        _ => None,
    });
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    Azure::new(http, options.unwrap(), Retry::default())
}

fn request(method: Method, path: &str) -> AzureRequest<'static> {
    AzureRequest::new("do what the test wants", method, path)
}

#[tokio::test]
async fn signed_requests_are_let_in_and_others_are_not() {
    let azurite = Service::start(lattice_services::Kind::Azurite)
        .await
        .unwrap();
    let azure_at = |key| azure(Kind::Blob, &azurite.url(), key);
    let azure = azure_at(None);
    let mut create = request(Method::PUT, "/things");
    create.query = vec![("restype", "container")];
    azure.ask(&create).await.unwrap();
    let error = azure.ask(&create).await.unwrap_err();
    assert_eq!(error.code(), Some("ContainerAlreadyExists"));

    let path = format!("/things/{}", encode::path("a b/+ü&?%.txt"));
    let mut put = request(Method::PUT, &path);
    put.headers = vec![
        (BLOB_TYPE, "BlockBlob".to_owned()),
        (CONTENT_TYPE, "text/plain".to_owned()),
    ];
    put.body = Bytes::from_static(b"hello");
    azure.ask(&put).await.unwrap();
    let got = azure.ask(&request(Method::GET, &path)).await.unwrap();
    assert_eq!(got.into_body(), "hello");
    let head = azure.ask(&request(Method::HEAD, "/things/none")).await;
    assert_eq!(head.unwrap_err().code(), Some("BlobNotFound"));

    let mut list = request(Method::GET, "/things");
    list.query = vec![
        ("restype", "container"),
        ("comp", "list"),
        ("prefix", "a b/"),
    ];
    let listed = azure.ask_xml(&list).await.unwrap();
    let blob = listed.child("Blobs").unwrap().child("Blob").unwrap();
    assert_eq!(blob.text_of("Name"), "a b/+ü&?%.txt");

    let wrong = azure_at(Some("d3Jvbmc="));
    let error = wrong.ask(&list).await.unwrap_err();
    assert!(error.is_denied() && !error.is_known_but_denied(), "{error}");
    assert!(!format!("{error:?}").contains("d3Jvbmc="), "{error:?}");
}

#[tokio::test]
async fn queues_are_signed_alike() {
    let azurite = Service::start(lattice_services::Kind::Azurite)
        .await
        .unwrap();
    let url = format!("http://127.0.0.1:{}", azurite.ports()[1]);
    let azure = azure(Kind::Queue, &url, None);
    // Its queues are there a moment after its blobs.
    let created = async { while azure.ask(&request(Method::PUT, "/jobs")).await.is_err() {} };
    let created = tokio::time::timeout(Duration::from_secs(30), created);
    created.await.unwrap();
    let mut list = request(Method::GET, "/");
    list.query = vec![("comp", "list"), ("prefix", "jo")];
    let listed = azure.ask_xml(&list).await.unwrap();
    let queue = listed.child("Queues").unwrap().child("Queue").unwrap();
    assert_eq!(queue.text_of("Name"), "jobs");
}
