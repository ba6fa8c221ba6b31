//! Users and keys of moto.

use bytes::Bytes;
use http::Request;
use lattice_backend_http::aws::{AwsClient, AwsKeys, Origin};
use lattice_backend_http::encode::query;
use lattice_backend_http::xml::Element;
use lattice_backend_http::{HttpBackend, HttpOptions};

/// A client of one of the services.
pub(crate) fn client(url: &str, service: &'static str, keys: AwsKeys) -> (AwsClient, String) {
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    let client = AwsClient::new(http, Origin::Fixed(keys), service, "us-east-1".to_owned());
    (client, format!("{url}/"))
}

/// Asks IAM for something.
async fn iam(url: &str, pairs: &[(&str, &str)]) -> Element {
    let (client, url) = client(url, "iam", AwsKeys::new("any", "any"));
    let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    let body = query(pairs.iter().copied().chain([("Version", "2010-05-08")]));
    let answer = client.ask(request.body(Bytes::from(body)).unwrap()).await;
    let answer = answer.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    Element::read(&String::from_utf8_lossy(answer.body())).unwrap()
}

/// A key that may do everything with a service, on a service that looks at signatures from now on.
pub(crate) async fn key_of_strict_service(url: &str, service: &str) -> AwsKeys {
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"{service}:*","Resource":"*"}}]}}"#
    );
    iam(url, &[("Action", "CreateUser"), ("UserName", "me")]).await;
    let put = [
        ("Action", "PutUserPolicy"),
        ("UserName", "me"),
        ("PolicyName", "all"),
        ("PolicyDocument", policy.as_str()),
    ];
    iam(url, &put).await;
    let answer = iam(url, &[("Action", "CreateAccessKey"), ("UserName", "me")]).await;
    let result = answer.child("CreateAccessKeyResult").unwrap();
    let key = result.child("AccessKey").unwrap();
    let http = HttpBackend::new(HttpOptions::default()).unwrap();
    let strict = Request::post(format!("{url}/moto-api/reset-auth"));
    let strict = http.ask(strict.body(Bytes::from("0")).unwrap()).await;
    assert!(strict.unwrap().status().is_success());
    AwsKeys::new(key.text_of("AccessKeyId"), key.text_of("SecretAccessKey"))
}
