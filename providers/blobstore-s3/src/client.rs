//! Requests to S3.

use bytes::Bytes;
use http::header::HeaderName;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use lattice_backend_http::aws::AwsClient;
use lattice_backend_http::encode;
use lattice_backend_http::xml::Element;
use lattice_backend_http::{Answer, HttpBackend, Retry, TlsError};
use tokio_util::task::TaskTracker;

use crate::error::S3Error;
use crate::settings::S3Settings;

/// How much of the answer that refuses a stream is read.
const REFUSAL: usize = 64 * 1024;
/// The largest object that is copied with one request.
const COPY_AT_ONCE: u64 = 5 << 30;

/// One service, as one user.
#[derive(Debug)]
pub(crate) struct S3 {
    client: AwsClient,
    /// The scheme, and host and port.
    endpoint: (String, String),
    is_aws: bool,
    settings: S3Settings,
    retry: Retry,
    pub(crate) copy_at_once: u64,
    /// What takes the parts of broken uploads away.
    pub(crate) cleaners: TaskTracker,
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) what: &'static str,
    pub(crate) method: Method,
    pub(crate) bucket: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) query: Vec<(&'a str, &'a str)>,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
    /// Whether it does the same when it is done twice.
    pub(crate) once: bool,
}

impl<'a> Ask<'a> {
    /// For a bucket.
    pub(crate) fn of_bucket(what: &'static str, method: Method, bucket: &'a str) -> Self {
        Self {
            what,
            method,
            bucket: Some(bucket),
            ..Self::default()
        }
    }

    /// For an object.
    pub(crate) fn of_object(
        what: &'static str,
        method: Method,
        bucket: &'a str,
        key: &'a str,
    ) -> Self {
        Self {
            key: Some(key),
            ..Self::of_bucket(what, method, bucket)
        }
    }
}

impl S3 {
    pub(crate) fn new(settings: S3Settings) -> Result<Self, TlsError> {
        let http = HttpBackend::new(settings.http.clone())?;
        let aws = settings.aws.clone();
        let of_aws = || format!("https://s3.{}.amazonaws.com", aws.region);
        let endpoint = aws.endpoint.clone().unwrap_or_else(of_aws);
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
        let endpoint = (scheme.to_owned(), rest.to_owned());
        Ok(Self {
            client: AwsClient::new(http, aws.origin, "s3", aws.region),
            endpoint,
            is_aws: aws.endpoint.is_none(),
            retry: Retry {
                attempts: settings.attempts,
                ..Retry::default()
            },
            settings,
            copy_at_once: COPY_AT_ONCE,
            cleaners: TaskTracker::new(),
        })
    }

    pub(crate) fn part_size(&self) -> usize {
        self.settings.part_size
    }

    /// Where a new bucket is to be; `None` leaves it to the service.
    pub(crate) fn new_bucket_region(&self) -> Option<&str> {
        let own = || Some(self.client.region()).filter(|_| self.is_aws);
        let region = self.settings.bucket_region.as_deref().or_else(own);
        // The first region is the only one that must not be named.
        region.filter(|region| *region != "us-east-1")
    }

    fn url(&self, ask: &Ask<'_>) -> String {
        let (scheme, host) = &self.endpoint;
        let mut url = match ask.bucket {
            Some(bucket) if self.settings.virtual_host => format!("{scheme}://{bucket}.{host}/"),
            Some(bucket) => format!("{scheme}://{host}/{bucket}"),
            None => format!("{scheme}://{host}/"),
        };
        if let Some(key) = ask.key {
            if !url.ends_with('/') {
                url.push('/');
            }
            url += &encode::path(key);
        }
        if !ask.query.is_empty() {
            url.push('?');
            url += &encode::query(ask.query.iter().copied());
        }
        url
    }

    fn request(&self, ask: &Ask<'_>) -> Result<Request<Bytes>, S3Error> {
        let mut request = Request::builder().method(&ask.method).uri(self.url(ask));
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(ask.body.clone());
        request.map_err(|source| S3Error::Request {
            what: ask.what,
            source,
        })
    }

    /// Where the service is, for errors.
    fn at(&self) -> &str {
        &self.endpoint.1
    }

    /// Makes a request, and again when that may help.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        let again = |error: &S3Error| error.never_sent() || (!ask.once && error.may_pass());
        self.retry.run(|| self.ask_once(ask), again).await
    }

    /// Makes a request.
    pub(crate) async fn ask_once(&self, ask: &Ask<'_>) -> Result<Response<Bytes>, S3Error> {
        let answer = self.client.ask(self.request(ask)?).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(ask, &answer))
    }

    fn refused(&self, ask: &Ask<'_>, answer: &Response<Bytes>) -> S3Error {
        let (status, headers) = (answer.status(), answer.headers());
        S3Error::refused(self.at(), ask.what, status, headers, answer.body())
    }

    /// Makes a request whose answer is XML.
    pub(crate) async fn ask_xml(&self, ask: &Ask<'_>) -> Result<Element, S3Error> {
        let again = |error: &S3Error| error.never_sent() || (!ask.once && error.may_pass());
        self.retry.run(|| self.ask_xml_once(ask), again).await
    }

    async fn ask_xml_once(&self, ask: &Ask<'_>) -> Result<Element, S3Error> {
        let answer = self.ask_once(ask).await?;
        let text = String::from_utf8_lossy(answer.body());
        let root = Element::read(&text).map_err(|source| S3Error::Answer {
            at: self.at().to_owned(),
            what: ask.what,
            source,
        })?;
        // What takes long begins with success, and may end without.
        match root.name.as_str() {
            "Error" => Err(self.refused(ask, &answer)),
            _ => Ok(root),
        }
    }

    /// Makes a request whose answer streams.
    pub(crate) async fn open(&self, ask: &Ask<'_>) -> Result<Response<Answer>, S3Error> {
        let again = |error: &S3Error| error.never_sent() || error.may_pass();
        self.retry.run(|| self.open_once(ask), again).await
    }

    async fn open_once(&self, ask: &Ask<'_>) -> Result<Response<Answer>, S3Error> {
        let answer = self.client.send(self.request(ask)?).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = http_body_util::Limited::new(body, REFUSAL).collect();
        let body = tokio::time::timeout(self.settings.http.answer_limit, body).await;
        let body = body.ok().and_then(Result::ok);
        let body = body.map(http_body_util::Collected::to_bytes);
        let answer = Response::from_parts(head, body.unwrap_or_default());
        Err(self.refused(ask, &answer))
    }
}

#[cfg(test)]
mod tests {
    use lattice_provider_sdk::Settings;

    use super::*;

    fn url(values: &[(&str, &str)], ask: &Ask<'_>) -> String {
        let settings = Settings::from_texts(values.iter().copied(), []);
        let (settings, _) = S3Settings::read(&settings, |_| None).unwrap();
        S3::new(settings).unwrap().url(ask)
    }

    #[test]
    fn addresses_name_bucket_and_object_exactly() {
        let mut ask = Ask::of_object("read", Method::GET, "abc", "a//b ü+/../?");
        assert_eq!(
            url(&[("region", "eu-west-1")], &ask),
            "https://s3.eu-west-1.amazonaws.com/abc/a//b%20%C3%BC%2B/../%3F"
        );
        ask.query = vec![("uploadId", "a/b"), ("x", "")];
        let own = [("endpoint", "http://h:1/"), ("virtual_host", "true")];
        assert_eq!(
            url(&own, &ask),
            "http://abc.h:1/a//b%20%C3%BC%2B/../%3F?uploadId=a%2Fb&x="
        );
        let own = [("endpoint", "http://h:1")];
        assert_eq!(url(&own, &Ask::default()), "http://h:1/");
        let ask = Ask::of_object("read", Method::GET, "abc", "/x");
        assert_eq!(url(&own, &ask), "http://h:1/abc//x");
    }
}
