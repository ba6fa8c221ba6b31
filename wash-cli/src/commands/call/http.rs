//! The HTTP side of `wash call`: building the request, showing the response.

use std::fmt::Display;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::builder::BoolishValueParser;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use lattice_rpc::http::HttpError;
use lattice_rpc::{Invocation, Peer};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::error::{CliError, Code, Result};
use crate::output::{Output, fields};

/// The largest response body that is shown.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long the body of a response may pause where nobody has said how long the call may take.
const PAUSE: Duration = Duration::from_secs(600);

/// What to send to an HTTP handler.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "HTTP request (for wasi:http/incoming-handler.handle)")]
pub(super) struct HttpArgs {
    /// Scheme
    #[arg(
        long = "http-scheme",
        env = "WASH_CALL_INVOKE_HTTP_SCHEME",
        default_value = "http"
    )]
    scheme: String,
    /// Host the request is for; no socket is opened
    #[arg(
        long = "http-host",
        env = "WASH_CALL_INVOKE_HTTP_HOST",
        default_value = "localhost"
    )]
    host: String,
    /// Port the request is for
    #[arg(
        long = "http-port",
        env = "WASH_CALL_INVOKE_HTTP_PORT",
        default_value_t = 8080
    )]
    port: u16,
    /// Method
    #[arg(
        long = "http-method",
        env = "WASH_CALL_INVOKE_HTTP_METHOD",
        default_value = "GET"
    )]
    method: String,
    /// Path and query
    #[arg(
        long = "http-path",
        env = "WASH_CALL_INVOKE_HTTP_PATH",
        default_value = "/"
    )]
    path: String,
    /// Header, such as `accept: text/plain`; may be repeated
    #[arg(long = "http-header", short = 'H')]
    headers: Vec<String>,
    /// Body
    #[arg(
        long = "http-body",
        env = "WASH_CALL_INVOKE_HTTP_BODY",
        conflicts_with = "http_body_path"
    )]
    body: Option<String>,
    /// File that holds the body
    #[arg(
        long = "http-body-path",
        id = "http_body_path",
        env = "WASH_CALL_INVOKE_HTTP_BODY_PATH"
    )]
    body_path: Option<PathBuf>,
    /// Content type of the body
    #[arg(long = "http-content-type", env = "WASH_CALL_INVOKE_HTTP_CONTENT_TYPE")]
    content_type: Option<String>,
    /// Show only the body, which must be JSON
    #[arg(long = "http-response-extract-json", env = "WASH_CALL_HTTP_RESPONSE_EXTRACT_JSON",
        num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = BoolishValueParser::new())]
    extract_json: bool,
}

/// A response as far as it was read.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Why there is no [`Answer`].
#[derive(Debug)]
pub(super) enum SendFailure {
    Http(HttpError),
    Body(String),
    /// The body did not end in time; this much came.
    Late(Box<Answer>),
}

impl Answer {
    /// How many bytes of the body came.
    pub(super) fn received(&self) -> usize {
        self.body.len()
    }
}

/// Sends a request; its whole response must be there at `until`, if that is said.
pub(super) async fn send(
    peer: &Peer,
    invocation: Invocation,
    request: Request<Full<Bytes>>,
    until: Option<Instant>,
) -> std::result::Result<Answer, SendFailure> {
    let response = peer
        .call_http(invocation, request)
        .await
        .map_err(SendFailure::Http)?;
    let (parts, body) = response.into_parts();
    let (body, has_ended) = read(Limited::new(body, MAX_BODY), until, PAUSE).await?;
    let answer = Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    };
    match has_ended {
        true => Ok(answer),
        false => Err(SendFailure::Late(Box::new(answer))),
    }
}

/// Reads a body until it ends, or until then, or until it has paused for so long. Says whether it has
/// ended.
async fn read<B>(
    body: B,
    until: Option<Instant>,
    pause: Duration,
) -> std::result::Result<(Bytes, bool), SendFailure>
where
    B: BodyExt<Data = Bytes>,
    B::Error: Display,
{
    let mut body = pin!(body);
    let mut received = BytesMut::new();
    loop {
        let limit = until.unwrap_or_else(|| Instant::now() + pause);
        let Ok(frame) = timeout_at(limit, body.frame()).await else {
            return Ok((received.freeze(), false));
        };
        let Some(frame) = frame else {
            return Ok((received.freeze(), true));
        };
        let frame = frame.map_err(|error| SendFailure::Body(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            received.extend_from_slice(&data);
        }
    }
}

impl HttpArgs {
    /// Builds the request.
    pub(super) fn request(&self) -> Result<Request<Full<Bytes>>> {
        let method: Method = self
            .method
            .to_uppercase()
            .parse()
            .map_err(|error| bad(format!("`{}` is not an HTTP method", self.method), &error))?;
        let uri = self.uri()?;
        let mut request = Request::new(Full::new(self.body()?));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for header in &self.headers {
            let (name, value) = parse_header(header)?;
            request.headers_mut().append(name, value);
        }
        if let Some(content_type) = &self.content_type {
            let value = HeaderValue::from_str(content_type)
                .map_err(|error| bad(format!("`{content_type}` is not a content type"), &error))?;
            request
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, value);
        }
        Ok(request)
    }

    fn uri(&self) -> Result<Uri> {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let text = format!(
            "{}://{}:{}{slash}{}",
            self.scheme, self.host, self.port, self.path
        );
        text.parse()
            .map_err(|error| bad(format!("`{text}` is not a URL"), &error))
    }

    fn body(&self) -> Result<Bytes> {
        match (&self.body, &self.body_path) {
            (Some(text), _) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(path)) => std::fs::read(path).map(Bytes::from).map_err(|error| {
                CliError::unread(format!("could not read `{}`", path.display()), &error)
            }),
            (None, None) => Ok(Bytes::new()),
        }
    }

    /// Shows the response as 1.x does: status, headers and body as JSON.
    pub(super) fn output(&self, answer: Answer) -> Result<Output> {
        if self.extract_json {
            let body: Value = serde_json::from_slice(&answer.body).map_err(|error| {
                CliError::new(Code::BadReply, "the body of the response is not JSON")
                    .caused_by(&error)
            })?;
            let text = serde_json::to_string_pretty(&body).unwrap_or_default();
            return Ok(Output::new(text, fields([("response", body)])));
        }
        Ok(shown(&answer))
    }

    /// Shows a response that did not end. A body that is to be JSON is of no use in part.
    pub(super) fn part(&self, answer: &Answer) -> Option<Output> {
        (!self.extract_json).then(|| shown(answer))
    }
}

fn shown(answer: &Answer) -> Output {
    let body = Value::from(String::from_utf8_lossy(&answer.body).into_owned());
    let response = document(answer, body);
    let text = serde_json::to_string_pretty(&response).unwrap_or_default();
    Output::new(text, fields([("response", response)]))
}

fn document(answer: &Answer, body: Value) -> Value {
    let headers: serde_json::Map<String, Value> = answer
        .headers
        .keys()
        .map(|name| {
            let values: Vec<_> = answer
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect();
            (name.to_string(), Value::from(values.join(", ")))
        })
        .collect();
    json!({ "status": answer.status.as_u16(), "headers": headers, "body": body })
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let parse = || {
        let (name, value) = text.split_once([':', '='])?;
        Some((name.trim().parse().ok()?, value.trim().parse().ok()?))
    };
    parse().ok_or_else(|| {
        CliError::new(Code::Usage, format!("`{text}` is not an HTTP header"))
            .hint("write `name: value`")
    })
}

fn bad(what: String, source: &(dyn std::error::Error + 'static)) -> CliError {
    CliError::new(Code::Usage, what).caused_by(source)
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;

    use super::*;
    use crate::args::parsed;

    fn request(line: &[&str]) -> Result<Request<Full<Bytes>>> {
        parsed::<HttpArgs>(line).unwrap().request()
    }

    #[test]
    fn a_request_has_method_path_headers_and_body() {
        let request = request(&[
            "--http-method",
            "post",
            "--http-path",
            "a?b=c",
            "-H",
            "x-one: 1",
            "-H",
            "x-one: 2",
            "--http-body",
            "hi",
            "--http-content-type",
            "text/plain",
        ])
        .unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "http://localhost:8080/a?b=c");
        assert_eq!(request.headers().get_all("x-one").iter().count(), 2);
        assert_eq!(request.headers()["content-type"], "text/plain");
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            ["--http-method", "a b"],
            ["-H", "no header"],
            ["--http-path", "/ x"],
        ] {
            assert_eq!(request(&line).unwrap_err().code(), Code::Usage, "{line:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_is_waited_for_as_long_as_was_said() {
        let endless = async || {
            let begun = Full::new(Bytes::from_static(b"event")).frame().await;
            StreamBody::new(stream::iter(begun).chain(stream::pending()))
        };
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(3600));
        let (first, second) = (endless().await, endless().await);
        let by_deadline = read(first, Some(Instant::now() + short), long).await;
        let by_pause = read(second, None, short).await;
        for late in [by_deadline, by_pause] {
            assert_eq!(late.unwrap(), (Bytes::from_static(b"event"), false));
        }
        let all = Bytes::from_static(b"all");
        let whole = read(Full::new(all.clone()), None, short).await;
        assert_eq!(whole.unwrap(), (all, true));
    }

    #[test]
    fn the_extracted_body_is_the_whole_response() {
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{\"a\":1}"),
        };
        let http: HttpArgs = parsed(&["--http-response-extract-json"]).unwrap();
        let output = http.output(answer).unwrap();
        assert_eq!(output.data()["response"], json!({ "a": 1 }));
    }

    #[test]
    fn several_values_of_a_header_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("vary", HeaderValue::from_static("a"));
        headers.append("vary", HeaderValue::from_static("b"));
        let answer = Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::new(),
        };
        assert_eq!(document(&answer, Value::Null)["headers"]["vary"], "a, b");
    }
}
