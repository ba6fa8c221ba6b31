//! Signed requests.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use time::OffsetDateTime;

use super::keys::{AwsKeys, KeysError};
use super::refusal::Refusal;
use super::sign::{Scope, hash, sign};
use super::source::{KeySource, Origin};
use crate::{Answer, HttpBackend, HttpError};

const BODY_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The longest refusal that is read, in bytes.
const REFUSAL: usize = 64 << 10;

/// Signs requests to one service and sends them, each once, or twice when the service refuses the
/// keys and there are others by then.
#[derive(Debug)]
pub struct AwsClient {
    http: HttpBackend,
    keys: KeySource,
    service: &'static str,
    region: String,
}

/// Why a service did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// There are no keys to sign with.
    #[error("there are no keys to sign requests with")]
    Keys(#[from] KeysError),
    /// It was not reached, or is silent.
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl AwsError {
    /// Whether the request surely never reached the service.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        match self {
            // Who lends them was asked already.
            Self::Keys(_) => false,
            Self::Http(error) => error.never_sent(),
        }
    }

    /// Whether the connection broke, so that a request which may be made twice is worth it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Http(HttpError::Reach { .. }))
    }
}

impl AwsClient {
    /// A client of `service` that sends through this pool.
    #[must_use]
    pub fn new(http: HttpBackend, origin: Origin, service: &'static str, region: String) -> Self {
        let keys = KeySource::new(origin, http.clone());
        Self {
            http,
            keys,
            service,
            region,
        }
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sends a request and waits for all of the answer.
    ///
    /// # Errors
    ///
    /// [`AwsError`].
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, AwsError> {
        let keys = self.keys.keys().await?;
        let answer = self.http.ask(self.signed(&request, &keys)).await?;
        let others = self.others(&keys, answer.status(), answer.body()).await;
        match others {
            Some(keys) => Ok(self.http.ask(self.signed(&request, &keys)).await?),
            None => Ok(answer),
        }
    }

    /// Sends a request and gives the answer as soon as its head is there, or all of it where it may
    /// refuse the keys.
    ///
    /// # Errors
    ///
    /// [`AwsError`].
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Answer>, AwsError> {
        let keys = self.keys.keys().await?;
        let signed = self.signed(&request, &keys).map(Full::new);
        let answer = self.http.send(signed).await?;
        if !Refusal::may_be(answer.status()) {
            return Ok(answer);
        }
        let (mut head, body) = answer.into_parts();
        let (body, is_whole) = self.read(body).await;
        let others = match is_whole {
            true => self.others(&keys, head.status, &body).await,
            // What is missing may say that it is not the keys.
            false => {
                // The body is shorter than that.
                head.headers.remove(CONTENT_LENGTH);
                None
            }
        };
        let Some(keys) = others else {
            return Ok(Response::from_parts(head, Answer::read(body)));
        };
        let signed = self.signed(&request, &keys).map(Full::new);
        Ok(self.http.send(signed).await?)
    }

    /// What comes of a refusal, and whether that is all. Its place is free after that.
    async fn read(&self, body: Answer) -> (Bytes, bool) {
        let mut text = BytesMut::new();
        let all = tokio::time::timeout(self.http.answer_limit(), gather(body, &mut text)).await;
        (text.freeze(), all.unwrap_or(false))
    }

    /// The keys to make a request with once more, if the answer refuses these.
    async fn others(&self, keys: &AwsKeys, status: StatusCode, body: &[u8]) -> Option<AwsKeys> {
        let refusal = Refusal::of(status, body)?;
        self.keys.instead_of(keys, refusal).await
    }

    fn signed(&self, request: &Request<Bytes>, keys: &AwsKeys) -> Request<Bytes> {
        let (mut parts, body) = request.clone().into_parts();
        let body_hash = hash(&body);
        if let Ok(value) = HeaderValue::from_str(&body_hash) {
            parts.headers.insert(BODY_HASH, value);
        }
        let scope = Scope {
            service: self.service,
            region: &self.region,
            at: OffsetDateTime::now_utc(),
        };
        sign(&mut parts, keys, scope, &body_hash);
        Request::from_parts(parts, body)
    }
}

/// Reads a refusal; says whether that is all of it.
async fn gather(mut body: Answer, text: &mut BytesMut) -> bool {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return false;
        };
        // Trailers are none of it.
        let piece = frame.into_data().unwrap_or_default();
        let room = REFUSAL - text.len();
        text.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use http::Method;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::HttpOptions;
    use crate::aws::AwsOptions;

    const EXPIRED: &str = "<Error><Code>ExpiredToken</Code></Error>";

    /// A service that takes one key. It lends `k1`, `k2` and so on at `/keys`.
    struct Service {
        url: String,
        taken: Arc<Mutex<&'static str>>,
    }

    impl Service {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let taken = Arc::new(Mutex::new(""));
            tokio::spawn(serve(listener, Arc::clone(&taken)));
            Self { url, taken }
        }

        fn take(&self, id: &'static str) {
            *self.taken.lock().unwrap() = id;
        }

        fn request(&self, method: Method) -> Request<Bytes> {
            let request = Request::builder().method(method).uri(&self.url);
            request.body(Bytes::new()).unwrap()
        }
    }

    /// An answer that has `length` bytes in its body, as it says.
    fn said(status: &str, length: usize, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    async fn serve(listener: TcpListener, taken: Arc<Mutex<&'static str>>) {
        let mut lent = 0;
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = [0; 2048];
            let length = client.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let is_taken = head.contains(&format!("Credential={}/", taken.lock().unwrap()));
            let (status, body) = if head.starts_with("GET /keys ") {
                lent += 1;
                let keys = format!("{{\"AccessKeyId\":\"k{lent}\",\"SecretAccessKey\":\"s\"}}");
                ("200 OK", keys)
            } else if head.starts_with("HEAD") && !is_taken {
                ("403 Forbidden", String::new())
            } else if is_taken {
                ("200 OK", String::new())
            } else {
                ("400 Bad Request", EXPIRED.to_owned())
            };
            let answer = said(status, body.len(), &body);
            client.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn http() -> HttpBackend {
        HttpBackend::new(HttpOptions::default()).unwrap()
    }

    fn client(origin: Origin) -> AwsClient {
        AwsClient::new(http(), origin, "s3", "us-east-1".to_owned())
    }

    /// Has the usual profile have that key.
    fn write(path: &Path, id: &str) {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
        std::fs::write(path, text).unwrap();
    }

    fn of_profile(path: &Path) -> Origin {
        let path = path.to_str().unwrap();
        let read = AwsOptions::read(|name| {
            (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| path.to_owned())
        });
        read.unwrap().origin
    }

    #[tokio::test]
    async fn a_profile_is_read_again_when_its_keys_are_refused() {
        let service = Service::start().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        for (method, streams) in [
            (Method::GET, false),
            (Method::HEAD, false),
            (Method::GET, true),
        ] {
            write(&path, "old");
            let client = client(of_profile(&path));
            for id in ["old", "new"] {
                write(&path, id);
                service.take(id);
                let request = service.request(method.clone());
                let status = match streams {
                    true => client.send(request).await.unwrap().status(),
                    false => client.ask(request).await.unwrap().status(),
                };
                assert_eq!(status, StatusCode::OK, "{method} {id}");
            }
        }
    }

    #[tokio::test]
    async fn keys_that_are_refused_before_their_end_are_lent_anew() {
        let service = Service::start().await;
        let url = format!("{}/keys", service.url);
        let client = client(Origin::Container { url, token: None });
        for id in ["k1", "k2"] {
            service.take(id);
            let answer = client.ask(service.request(Method::GET)).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{id}");
        }
        // Nobody has such a one, and the refusal is told.
        service.take("none");
        let answer = client.send(service.request(Method::GET)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let told = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(told, EXPIRED);
    }

    /// A service that lends keys at `/keys`, and refuses them with `text` as the beginning of `length`
    /// bytes. Where it `stays` it does not end the connection after that. Returns its address, and how
    /// often it has lent.
    async fn refusing(text: &str, length: usize, stays: bool) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let refusal = said("403 Forbidden", length, text);
        let lent = Arc::new(AtomicUsize::new(0));
        let lends = Arc::clone(&lent);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = [0; 2048];
                let read = client.read(&mut head).await.unwrap();
                if head[..read].starts_with(b"GET /keys ") {
                    let number = lends.fetch_add(1, Ordering::SeqCst);
                    let keys =
                        format!("{{\"AccessKeyId\":\"k{number}\",\"SecretAccessKey\":\"s\"}}");
                    let answer = said("200 OK", keys.len(), &keys);
                    client.write_all(answer.as_bytes()).await.unwrap();
                    continue;
                }
                // Who has read enough hangs up.
                let _ = client.write_all(refusal.as_bytes()).await;
                if stays {
                    open.push(client);
                }
            }
        });
        (url, lent)
    }

    #[tokio::test]
    async fn a_refusal_that_does_not_come_whole_is_told_and_no_keys_are_asked_for() {
        let long = "x".repeat(REFUSAL + 1);
        let denied = "<Error><Code>AccessDenied";
        for (text, length, stays) in [
            (&*long, long.len(), false),
            (denied, denied.len() + 1, false),
            (denied, denied.len() + 1, true),
        ] {
            let (url, lent) = refusing(text, length, stays).await;
            let http = HttpBackend::new(HttpOptions {
                answer_limit: Duration::from_secs(1),
                ..HttpOptions::default()
            });
            let keys = format!("{url}/keys");
            let origin = Origin::Container {
                url: keys,
                token: None,
            };
            let region = "us-east-1".to_owned();
            let client = AwsClient::new(http.unwrap(), origin, "s3", region);
            let request = Request::get(&url).body(Bytes::new()).unwrap();
            let answer = client.send(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            assert_eq!(answer.headers().get(CONTENT_LENGTH), None);
            let told = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(told, text.as_bytes()[..text.len().min(REFUSAL)]);
            assert_eq!(lent.load(Ordering::SeqCst), 1, "{length} {stays}");
        }
    }

    /// Keys that were lent, where they are from, and who lends more.
    async fn lent() -> (AwsKeys, KeySource, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let source = KeySource::new(Origin::Container { url, token: None }, http());
        let (keys, ()) = tokio::join!(source.keys(), lend(&listener, "first"));
        (keys.unwrap(), source, listener)
    }

    /// Answers one request for keys.
    async fn lend(listener: &TcpListener, id: &str) {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = [0; 2048];
        let read = client.read(&mut head).await.unwrap();
        assert!(head[..read].starts_with(b"GET /keys "));
        let keys = format!("{{\"AccessKeyId\":\"{id}\",\"SecretAccessKey\":\"s\"}}");
        let answer = said("200 OK", keys.len(), &keys);
        client.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn nobody_waits_for_a_silent_lender_because_a_request_of_another_was_refused() {
        const AT_ONCE: Duration = Duration::from_secs(1);
        let (first, source, listener) = lent().await;
        let mut refused = Box::pin(source.instead_of(&first, Refusal::Silent));
        // It is asked, and stays silent.
        let _asked = tokio::select! {
            found = &mut refused => panic!("nobody was asked: {found:?}"),
            asked = listener.accept() => asked.unwrap(),
        };
        let keys = tokio::time::timeout(AT_ONCE, source.keys()).await;
        assert_eq!(keys.unwrap().unwrap(), first);
        // Who gave up has asked all the same.
        drop(refused);
        let again = source.instead_of(&first, Refusal::Silent);
        assert_eq!(tokio::time::timeout(AT_ONCE, again).await, Ok(None));
    }

    #[tokio::test]
    async fn who_is_refused_while_keys_are_lent_anew_gets_them_too() {
        let (first, source, listener) = lent().await;
        let (one, other, ()) = tokio::join!(
            source.instead_of(&first, Refusal::Keys),
            source.instead_of(&first, Refusal::Keys),
            lend(&listener, "second"),
        );
        assert_eq!(one.unwrap().id, "second");
        assert_eq!(other.unwrap().id, "second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_profile_is_not_read_for_each_of_many_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        write(&path, "first");
        let source = KeySource::new(of_profile(&path), http());
        let first = source.keys().await.unwrap();
        write(&path, "second");
        assert_eq!(source.keys().await.unwrap(), first);
        let second = source.instead_of(&first, Refusal::Keys).await.unwrap();
        assert_eq!(second.id, "second");
        write(&path, "third");
        assert_eq!(source.instead_of(&second, Refusal::Keys).await, None);
        // A refusal of those before comes late.
        let late = source.instead_of(&first, Refusal::Keys).await;
        assert_eq!(late, Some(second.clone()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(source.instead_of(&second, Refusal::Silent).await, None);
        let third = source.instead_of(&second, Refusal::Keys).await.unwrap();
        assert_eq!(third.id, "third");
        // Somebody writes it anew, and is not done.
        std::fs::write(&path, "").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(source.instead_of(&third, Refusal::Keys).await, None);
        assert_eq!(source.keys().await.unwrap(), third);
    }
}
