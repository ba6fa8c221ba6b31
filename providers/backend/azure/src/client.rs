//! Requests to one account.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use lattice_backend_http::xml::Element;
use lattice_backend_http::{Answer, HttpBackend, Retry, date, encode};
use time::OffsetDateTime;

use crate::account::{AzureOptions, Login};
use crate::error::AzureError;
use crate::sign::Signed;

/// How requests and answers look like.
const VERSION: &str = "2021-12-02";
const MS_DATE: HeaderName = HeaderName::from_static("x-ms-date");
const MS_VERSION: HeaderName = HeaderName::from_static("x-ms-version");
/// How much of the answer that refuses a stream is read.
const REFUSAL: usize = 64 * 1024;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct AzureRequest<'a> {
    /// In words, after `refused to`.
    pub what: &'static str,
    /// The method.
    pub method: Method,
    /// The path below the account, as it is sent: it begins with `/`, and what is reserved in it is
    /// written as [`encode`](lattice_backend_http::encode) does.
    pub path: String,
    /// Names and values as they are meant.
    pub query: Vec<(&'a str, &'a str)>,
    /// Headers besides those that every request has.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether it must not be made twice.
    pub once: bool,
}

impl AzureRequest<'_> {
    /// A request without anything else.
    pub fn new(what: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self {
            what,
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            once: false,
        }
    }
}

/// One account, as one user.
#[derive(Debug)]
pub struct Azure {
    http: HttpBackend,
    options: AzureOptions,
    retry: Retry,
    /// Host and port, for errors.
    at: String,
}

impl Azure {
    /// Uses an account through this pool.
    #[must_use]
    pub fn new(http: HttpBackend, options: AzureOptions, retry: Retry) -> Self {
        let uri: Option<Uri> = options.endpoint.parse().ok();
        let at = uri.as_ref().and_then(Uri::authority);
        Self {
            http,
            at: at.map(ToString::to_string).unwrap_or_default(),
            options,
            retry,
        }
    }

    /// The account and how it is used.
    #[must_use]
    pub fn options(&self) -> &AzureOptions {
        &self.options
    }

    /// The address of a path below the account, such as the source of a copy; with the signature
    /// that lets us in when that is part of addresses.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let url = format!("{}{path}", self.options.endpoint);
        match &self.options.login {
            Login::Key(_) => url,
            Login::Signature(query) => format!("{url}?{}", query.expose()),
        }
    }

    fn request(&self, asked: &AzureRequest<'_>) -> Result<Request<Bytes>, AzureError> {
        let failed = |source| AzureError::Request {
            what: asked.what,
            source,
        };
        let mut url = self.url(&asked.path);
        if !asked.query.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url += &encode::query(asked.query.iter().copied());
        }
        let mut request = Request::builder().method(&asked.method).uri(url);
        request = request
            .header(MS_DATE, date::http_date(OffsetDateTime::now_utc()))
            .header(MS_VERSION, VERSION);
        if !matches!(asked.method, Method::GET | Method::HEAD) {
            request = request.header(CONTENT_LENGTH, asked.body.len());
        }
        for (name, value) in &asked.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(asked.body.clone()).map_err(failed)?;
        if let Login::Key(key) = &self.options.login {
            let signed = Signed {
                method: request.method(),
                path: request.uri().path(),
                query: &asked.query,
                headers: request.headers(),
            };
            let value = signed.authorization(&self.options.account, key);
            let value = HeaderValue::from_str(&value);
            let mut value = value.map_err(|source| failed(source.into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// Makes a request, and again when that may help.
    ///
    /// # Errors
    ///
    /// [`AzureError`].
    pub async fn ask(&self, asked: &AzureRequest<'_>) -> Result<Response<Bytes>, AzureError> {
        let again = |error: &AzureError| error.never_sent() || (!asked.once && error.may_pass());
        self.retry.run(|| self.ask_once(asked), again).await
    }

    /// Makes a request.
    ///
    /// # Errors
    ///
    /// [`AzureError`].
    pub async fn ask_once(&self, asked: &AzureRequest<'_>) -> Result<Response<Bytes>, AzureError> {
        let answer = self.http.ask(self.request(asked)?).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(asked, &answer))
    }

    fn refused(&self, asked: &AzureRequest<'_>, answer: &Response<Bytes>) -> AzureError {
        let (status, headers) = (answer.status(), answer.headers());
        AzureError::refused(&self.at, asked.what, status, headers, answer.body())
    }

    /// As [`Azure::ask`], for an answer in XML.
    ///
    /// # Errors
    ///
    /// [`AzureError`].
    pub async fn ask_xml(&self, asked: &AzureRequest<'_>) -> Result<Element, AzureError> {
        let answer = self.ask(asked).await?;
        let text = String::from_utf8_lossy(answer.body());
        Element::read(&text).map_err(|source| AzureError::Answer {
            at: self.at.clone(),
            what: asked.what,
            source,
        })
    }

    /// As [`Azure::ask`], and gives the answer as soon as its head is there.
    ///
    /// # Errors
    ///
    /// [`AzureError`].
    pub async fn open(&self, asked: &AzureRequest<'_>) -> Result<Response<Answer>, AzureError> {
        let again = |error: &AzureError| error.never_sent() || error.may_pass();
        self.retry.run(|| self.open_once(asked), again).await
    }

    async fn open_once(&self, asked: &AzureRequest<'_>) -> Result<Response<Answer>, AzureError> {
        let request = self.request(asked)?.map(Full::new);
        let answer = self.http.send(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, REFUSAL).collect();
        let body = tokio::time::timeout(self.http.answer_limit(), body).await;
        let body = body.ok().and_then(Result::ok);
        let body = body.map(http_body_util::Collected::to_bytes);
        let answer = Response::from_parts(head, body.unwrap_or_default());
        Err(self.refused(asked, &answer))
    }
}
