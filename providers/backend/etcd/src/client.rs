//! One etcd, through one of its endpoints at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use lattice_backend_http::{Answer as Body, HttpBackend, HttpError, HttpOptions, TlsOptions};
use lattice_core::provider::SecretText;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::error::{Code, EtcdError, OpenError};
use crate::login::Login;
use crate::wire::{self, Refusal, decode};

/// How etcd is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EtcdOptions {
    /// Its members, such as `http://127.0.0.1:2379`; the first is asked first.
    pub endpoints: Vec<String>,
    /// Who logs in, with which password.
    pub login: Option<(String, SecretText)>,
    /// Whom to believe, and who we are.
    pub tls: TlsOptions,
    /// How long a connection may take.
    pub connect_limit: Duration,
    /// How long one member may take to answer.
    pub answer_limit: Duration,
}

impl EtcdOptions {
    /// Without login, with the usual limits.
    pub fn at<S: Into<String>>(endpoints: impl IntoIterator<Item = S>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            login: None,
            tls: TlsOptions::default(),
            connect_limit: Duration::from_secs(2),
            answer_limit: Duration::from_secs(3),
        }
    }
}

/// The longest answer that is taken: a page of the largest values that etcd stores by default.
const LONGEST_ANSWER: usize = 64 << 20;

/// A client of one etcd.
#[derive(Debug)]
pub struct Etcd {
    http: HttpBackend,
    endpoints: Vec<Endpoint>,
    /// The endpoint that is asked.
    current: AtomicUsize,
    login: Option<Login>,
    answer_limit: Duration,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The version of etcd, such as `3.4.23`.
    #[serde(default)]
    pub version: String,
    /// The id of the leader; 0 when there is none.
    #[serde(default, with = "leader")]
    pub leader: u64,
}

mod leader {
    use serde::{Deserialize as _, Deserializer, de::Error as _};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// Whether something may be asked a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing, or the same at each time.
    Same,
    /// A second time is another one.
    Once,
}

impl Etcd {
    /// Makes a client, without asking anything of etcd.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the options cannot be used.
    pub fn new(options: EtcdOptions) -> Result<Self, OpenError> {
        let endpoints = options.endpoints.iter().map(|text| Endpoint::parse(text));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(OpenError::NoEndpoint);
        }
        let http = HttpBackend::new(HttpOptions {
            tls: options.tls,
            connect_limit: options.connect_limit,
            answer_limit: options.answer_limit,
            longest_answer: LONGEST_ANSWER,
            // A watch keeps its connection for as long as it lasts.
            connections: 1024,
            ..HttpOptions::default()
        })?;
        Ok(Self {
            http,
            endpoints,
            current: AtomicUsize::new(0),
            login: options.login.map(|(user, word)| Login::new(user, word)),
            answer_limit: options.answer_limit,
        })
    }

    /// How long a member may take to answer.
    pub(crate) fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// Asks a member how it is.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn status(&self) -> Result<Status, EtcdError> {
        let nothing = serde_json::Map::new();
        self.ask("/v3/maintenance/status", &nothing, Effect::Same)
            .await
    }

    /// Asks and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        path: &'static str,
        request: &impl Serialize,
        effect: Effect,
    ) -> Result<T, EtcdError> {
        let question = Question::new(path, request, effect)?;
        let (authority, answer) = self.with_token(&question).await?;
        match answer {
            Answer::Whole(body) => read(&authority, path, &body),
            Answer::Stream(_) => Err(strange(&authority, path, "a stream".to_owned())),
        }
    }

    /// Asks for a stream of answers, and gives it as soon as its head is there. The one who reads
    /// it sees the rest of the errors.
    pub(crate) async fn open(
        &self,
        path: &'static str,
        request: &impl Serialize,
    ) -> Result<(String, Response<Body>), EtcdError> {
        let question = Question {
            streams: true,
            ..Question::new(path, request, Effect::Same)?
        };
        let (authority, answer) = self.with_token(&question).await?;
        match answer {
            Answer::Stream(answer) => Ok((authority, answer)),
            Answer::Whole(_) => Err(strange(&authority, path, "no stream".to_owned())),
        }
    }

    /// Asks with the token of the login, and once more with a new one when etcd does not know that
    /// any more.
    async fn with_token(&self, question: &Question) -> Result<(String, Answer), EtcdError> {
        let Some(login) = &self.login else {
            return self.somewhere(question, None).await;
        };
        let token = login.token(|| self.log_in(login)).await?;
        match self.somewhere(question, token.header()).await {
            Err(error) if error.needs_token() => {
                login.forget(&token).await;
                let token = login.token(|| self.log_in(login)).await?;
                self.somewhere(question, token.header()).await
            }
            other => other,
        }
    }

    /// Gets a token.
    async fn log_in(&self, login: &Login) -> Result<String, EtcdError> {
        const PATH: &str = "/v3/auth/authenticate";
        let question = Question::new(PATH, &login.request(), Effect::Same)?;
        let (authority, answer) = self.somewhere(&question, None).await?;
        match answer {
            Answer::Whole(body) => {
                let answer: crate::login::Answer = read(&authority, PATH, &body)?;
                Ok(answer.token)
            }
            Answer::Stream(_) => Err(strange(&authority, PATH, "a stream".to_owned())),
        }
    }

    /// Asks one endpoint after the other, beginning with the current one, as long as that is safe.
    async fn somewhere(
        &self,
        question: &Question,
        token: Option<HeaderValue>,
    ) -> Result<(String, Answer), EtcdError> {
        let count = self.endpoints.len();
        let first = self.current.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let at = (first + tried) % count;
            let endpoint = &self.endpoints[at];
            let answered = self.one(endpoint, question, token.clone()).await;
            tried += 1;
            match answered {
                Err(error) if error.is_unavailable() => {
                    // The next request, of whomever, begins elsewhere.
                    self.current.store((at + 1) % count, Ordering::Relaxed);
                    let again = question.effect == Effect::Same || !error.may_have_happened();
                    if !again || tried == count {
                        return Err(error);
                    }
                    tracing::debug!(%error, "trying the next endpoint of etcd");
                }
                Err(error) => return Err(error),
                Ok(answer) => return Ok((endpoint.authority().to_owned(), answer)),
            }
        }
    }

    /// Asks one endpoint.
    async fn one(
        &self,
        at: &Endpoint,
        question: &Question,
        token: Option<HeaderValue>,
    ) -> Result<Answer, EtcdError> {
        let request = request_at(at, question, token)?;
        let authority = at.authority();
        if question.streams {
            let request = request.map(http_body_util::Full::new);
            let answer = self.http.send(request).await.map_err(no_answer)?;
            let status = answer.status();
            return match status.is_success() {
                true => Ok(Answer::Stream(answer)),
                false => Err(strange(
                    authority,
                    question.path,
                    format!("status {status}"),
                )),
            };
        }
        let answer = self.http.ask(request).await.map_err(no_answer)?;
        match answer.status().is_success() {
            true => Ok(Answer::Whole(answer.into_body())),
            false => Err(refusal(authority, question.path, &answer)),
        }
    }
}

/// What is asked.
struct Question {
    path: &'static str,
    body: Bytes,
    effect: Effect,
    /// Whether the answer is a stream.
    streams: bool,
}

impl Question {
    fn new(
        path: &'static str,
        request: &impl Serialize,
        effect: Effect,
    ) -> Result<Self, EtcdError> {
        let body = wire::encode(request).map_err(|source| EtcdError::Request {
            source: source.into(),
        })?;
        Ok(Self {
            path,
            body,
            effect,
            streams: false,
        })
    }
}

/// What came back.
enum Answer {
    Whole(Bytes),
    Stream(Response<Body>),
}

fn request_at(
    at: &Endpoint,
    question: &Question,
    token: Option<HeaderValue>,
) -> Result<Request<Bytes>, EtcdError> {
    let unmade = |source: http::Error| EtcdError::Request {
        source: source.into(),
    };
    let uri = at.uri(question.path).map_err(unmade)?;
    let mut request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    request.body(question.body.clone()).map_err(unmade)
}

fn no_answer(source: HttpError) -> EtcdError {
    EtcdError::NoAnswer { source }
}

fn strange(authority: &str, path: &'static str, what: String) -> EtcdError {
    EtcdError::Strange {
        authority: authority.to_owned(),
        path,
        what,
    }
}

/// Reads an answer.
fn read<T: DeserializeOwned>(
    authority: &str,
    path: &'static str,
    body: &[u8],
) -> Result<T, EtcdError> {
    decode(body).map_err(|error| strange(authority, path, error.to_string()))
}

/// Reads what came in place of an answer.
fn refusal(authority: &str, path: &'static str, answer: &Response<Bytes>) -> EtcdError {
    let status = answer.status();
    match decode::<Refusal>(answer.body()) {
        Ok(refusal) => refused(authority, refusal),
        Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
            let message = "the gateway is not available".to_owned();
            let code = Code::UNAVAILABLE.0;
            refused(authority, Refusal { code, message })
        }
        Err(_) => strange(authority, path, format!("status {status}")),
    }
}

/// What etcd says when it refuses.
pub(crate) fn refused(authority: &str, refusal: Refusal) -> EtcdError {
    EtcdError::Refused {
        authority: authority.to_owned(),
        code: Code(refusal.code),
        message: refusal.message,
    }
}
