//! Where keys come from.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use lattice_core::provider::SecretText;
use lattice_core::reply::message_chain;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keys::{AwsKeys, KeysError};
use super::refusal::Refusal;
use super::sign::{Scope, hash, sign};
use crate::date;
use crate::encode::query;
use crate::xml::Element;
use crate::{HttpBackend, HttpError};

/// Lent keys are asked for anew so long before they end.
const BEFORE_END: Duration = Duration::from_secs(300);
/// How long who lends keys may take: a link waits for them.
const LENDER_LIMIT: Duration = Duration::from_secs(3);
/// How long nobody is asked again after a failure: callers would wait for it one after the other.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nobody is asked again after a refusal without a cause: most are not of the keys.
const SILENT_PAUSE: Duration = Duration::from_secs(30);
/// The address of the machine's own service, on every machine of AWS.
const INSTANCE: &str = "http://169.254.169.254";
/// How it is shown that its token was fetched.
const INSTANCE_TOKEN: &str = "x-aws-ec2-metadata-token";
/// How long it may take to say its region: elsewhere nobody answers at all.
const REGION_LIMIT: Duration = Duration::from_secs(1);

/// A role whose keys are lent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role {
    /// The role, such as `arn:aws:iam::123456789012:role/example`.
    pub arn: String,
    /// What the session is called in logs.
    pub session: String,
    /// What the role's owner wants to hear.
    pub external_id: Option<String>,
    /// The region of the service that lends.
    pub region: String,
    /// The address of that service.
    pub endpoint: String,
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// They are there, or in the files of a profile.
    Fixed(AwsKeys),
    /// They are lent to who has others.
    Role(Role, Box<Origin>),
    /// They are lent for a token in a file.
    WebIdentity(Role, String),
    /// They are lent by a service of the container.
    Container {
        /// Its address.
        url: String,
        /// What is said to it.
        token: Option<SecretText>,
    },
    /// They are lent by the machine.
    Instance,
}

/// Gives keys that have not ended.
#[derive(Debug)]
pub struct KeySource {
    origin: Origin,
    http: HttpBackend,
    lent: Mutex<Lent>,
    /// Held while others are asked for because a service refused these. Who still has good ones
    /// does not wait for it.
    renewing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Lent {
    keys: Option<AwsKeys>,
    /// When nobody lent any, and why.
    failed: Option<(Instant, String)>,
    /// When others were asked for last because a service refused these.
    renewed: Option<Instant>,
}

impl KeySource {
    /// Keys from there, asked for through this pool.
    #[must_use]
    pub fn new(origin: Origin, http: HttpBackend) -> Self {
        Self {
            origin,
            http,
            lent: Mutex::default(),
            renewing: Mutex::default(),
        }
    }

    /// The keys to sign with now.
    ///
    /// # Errors
    ///
    /// [`KeysError`] when nobody lends any. Keys that have not quite ended are used meanwhile.
    pub async fn keys(&self) -> Result<AwsKeys, KeysError> {
        if let Origin::Fixed(keys) = &self.origin
            && keys.files.is_none()
        {
            return Ok(keys.clone());
        }
        let mut lent = self.lent.lock().await;
        let now = OffsetDateTime::now_utc();
        let lasting = |until| lent.keys.clone().filter(|keys| lasts(keys, until));
        if let Some(keys) = lasting(now + BEFORE_END) {
            return Ok(keys);
        }
        let old = lasting(now);
        if let Some((at, why)) = &lent.failed
            && at.elapsed() < PAUSE
        {
            return old.ok_or_else(|| KeysError::Recently { why: why.clone() });
        }
        match ask(&self.http, &self.origin).await {
            Ok(keys) => {
                lent.failed = None;
                Ok(lent.keys.insert(keys).clone())
            }
            Err(error) => {
                lent.failed = Some((Instant::now(), message_chain(&error)));
                old.ok_or(error)
            }
        }
    }

    /// Other keys than those that a service refused, if there are any by now. They are asked for
    /// again, though not for each of many refusals.
    pub(super) async fn instead_of(&self, refused: &AwsKeys, refusal: Refusal) -> Option<AwsKeys> {
        let pause = match refusal {
            Refusal::Keys => PAUSE,
            Refusal::Silent => SILENT_PAUSE,
        };
        let _turn = self.renewing.lock().await;
        let mut lent = self.lent.lock().await;
        let is_due = lent.renewed.is_none_or(|at| at.elapsed() >= pause);
        // Another request may have brought others meanwhile.
        if is_due && lent.keys.as_ref() == Some(refused) {
            // Said before, as the caller may give up while it waits.
            lent.renewed = Some(Instant::now());
            drop(lent);
            let found = tokio::time::timeout(LENDER_LIMIT, self.others()).await;
            lent = self.lent.lock().await;
            // Said after, so that those who waited for their turn do not wait for a lender too.
            lent.renewed = Some(Instant::now());
            if let Ok(Some(keys)) = found
                && lent.keys.as_ref() == Some(refused)
            {
                lent.keys = Some(keys);
            }
        }
        lent.keys.clone().filter(|keys| keys != refused)
    }

    async fn others(&self) -> Option<AwsKeys> {
        match &self.origin {
            Origin::Fixed(keys) => keys.by_now().await,
            // The refusal says more than why there are no others.
            origin => ask(&self.http, origin).await.ok(),
        }
    }
}

fn lasts(keys: &AwsKeys, until: OffsetDateTime) -> bool {
    keys.until.is_none_or(|end| end > until)
}

async fn ask(http: &HttpBackend, origin: &Origin) -> Result<AwsKeys, KeysError> {
    match origin {
        Origin::Fixed(keys) => Ok(keys.by_now().await.unwrap_or_else(|| keys.clone())),
        Origin::Role(role, from) => {
            let own = Box::pin(ask(http, from)).await?;
            assume(http, role, Some(&own), None).await
        }
        Origin::WebIdentity(role, path) => {
            let token = tokio::fs::read_to_string(path).await;
            let token = token.map_err(|source| KeysError::Token {
                path: path.clone(),
                source,
            })?;
            assume(http, role, None, Some(token.trim())).await
        }
        Origin::Container { url, token } => {
            let mut request = Request::get(url);
            if let Some(token) = token {
                request = request.header("authorization", token.expose());
            }
            lent_as_json(http, request, url, url).await
        }
        Origin::Instance => {
            let lent = of_instance(http, INSTANCE).await;
            lent.map_err(|error| KeysError::NotSaid {
                source: Box::new(error),
            })
        }
    }
}

async fn assume(
    http: &HttpBackend,
    role: &Role,
    own: Option<&AwsKeys>,
    token: Option<&str>,
) -> Result<AwsKeys, KeysError> {
    let action = match token {
        Some(_) => "AssumeRoleWithWebIdentity",
        None => "AssumeRole",
    };
    let mut pairs = vec![
        ("Action", action),
        ("Version", "2011-06-15"),
        ("RoleArn", &role.arn),
        ("RoleSessionName", &role.session),
    ];
    pairs.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
    pairs.extend(token.map(|token| ("WebIdentityToken", token)));
    let body = Bytes::from(query(pairs));
    let request = Request::post(&role.endpoint)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.clone())
        .map_err(|_| bad_address(&role.endpoint))?;
    let (mut parts, _) = request.into_parts();
    if let Some(own) = own {
        let scope = Scope {
            service: "sts",
            region: &role.region,
            at: OffsetDateTime::now_utc(),
        };
        sign(&mut parts, own, scope, &hash(&body));
    }
    let lender = format!("STS at `{}`", role.endpoint);
    let answer = whole(http, Request::from_parts(parts, body), &lender).await?;
    read_role(&answer, lender)
}

fn read_role(answer: &Response<Bytes>, lender: String) -> Result<AwsKeys, KeysError> {
    let text = String::from_utf8_lossy(answer.body());
    let root = match Element::read(&text) {
        Ok(root) => root,
        Err(source) => return Err(KeysError::Xml { lender, source }),
    };
    if let Some(error) = root.find("Error") {
        return Err(KeysError::Refused {
            lender,
            code: error.text_of("Code").to_owned(),
            message: error.text_of("Message").to_owned(),
        });
    }
    let Some(found) = root
        .find("Credentials")
        .filter(|_| answer.status().is_success())
    else {
        return Err(KeysError::NoKeys { lender });
    };
    let text = |name| found.text_of(name).to_owned();
    Ok(AwsKeys {
        token: Some(SecretText::new(text("SessionToken"))),
        until: date::read(found.text_of("Expiration")),
        ..AwsKeys::new(text("AccessKeyId"), text("SecretAccessKey"))
    })
}

/// What the service of the machine at that address is called in messages.
fn service_of_machine(at: &str) -> String {
    format!("the machine's own service at `{at}`")
}

/// Two steps: a token first, so that nobody is tricked into asking.
async fn of_instance(http: &HttpBackend, at: &str) -> Result<AwsKeys, KeysError> {
    let lender = service_of_machine(at);
    let token = token_of_instance(http, at).await?;
    let roles = format!("{at}/latest/meta-data/iam/security-credentials/");
    let get = |url: &str| Request::get(url).header(INSTANCE_TOKEN, &token);
    let request = get(&roles).body(Bytes::new());
    let found = whole(http, request.map_err(|_| bad_address(&roles))?, &lender).await?;
    let found = granted(found, &lender)?;
    let found = String::from_utf8_lossy(&found).into_owned();
    let Some(role) = found.lines().next().filter(|role| !role.is_empty()) else {
        return Err(KeysError::NoKeys { lender });
    };
    let keys = format!("{roles}{role}");
    lent_as_json(http, get(&keys), &keys, &lender).await
}

async fn token_of_instance(http: &HttpBackend, at: &str) -> Result<HeaderValue, KeysError> {
    let lender = service_of_machine(at);
    let url = format!("{at}/latest/api/token");
    let request = Request::put(&url)
        .header("x-aws-ec2-metadata-token-ttl-seconds", "300")
        .body(Bytes::new())
        .map_err(|_| bad_address(&url))?;
    let answer = whole(http, request, &lender).await?;
    // Anybody may answer there where the machine is none of AWS, such as a proxy.
    let token = granted(answer, &lender)?;
    HeaderValue::from_bytes(token.trim_ascii()).map_err(|_| KeysError::NoKeys { lender })
}

/// What a lender says who does not refuse.
fn granted(answer: Response<Bytes>, lender: &str) -> Result<Bytes, KeysError> {
    if answer.status().is_success() {
        return Ok(answer.into_body());
    }
    Err(KeysError::Refused {
        lender: lender.to_owned(),
        code: answer.status().to_string(),
        message: "no keys for who runs here".to_owned(),
    })
}

/// The region that this machine is in, if it is one of AWS and says so.
pub(super) async fn region_of_machine(http: &HttpBackend) -> Option<String> {
    let asked = tokio::time::timeout(REGION_LIMIT, region_of_instance(http, INSTANCE));
    asked.await.ok()?
}

async fn region_of_instance(http: &HttpBackend, at: &str) -> Option<String> {
    let token = token_of_instance(http, at).await.ok()?;
    let request = Request::get(format!("{at}/latest/meta-data/placement/region"))
        .header(INSTANCE_TOKEN, &token)
        .body(Bytes::new());
    let lender = service_of_machine(at);
    let answer = whole(http, request.ok()?, &lender).await.ok()?;
    let text = std::str::from_utf8(answer.body()).ok()?.trim();
    let is_region = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_good = answer.status().is_success() && !text.is_empty() && text.chars().all(is_region);
    is_good.then(|| text.to_owned())
}

async fn lent_as_json(
    http: &HttpBackend,
    request: http::request::Builder,
    url: &str,
    lender: &str,
) -> Result<AwsKeys, KeysError> {
    let request = request.body(Bytes::new()).map_err(|_| bad_address(url))?;
    let answer = granted(whole(http, request, lender).await?, lender)?;
    let no_keys = || KeysError::NoKeys {
        lender: lender.to_owned(),
    };
    let json: serde_json::Value = serde_json::from_slice(&answer).map_err(|_| no_keys())?;
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    let (Some(id), Some(secret)) = (text("AccessKeyId"), text("SecretAccessKey")) else {
        return Err(no_keys());
    };
    Ok(AwsKeys {
        token: text("Token").map(SecretText::new),
        until: text("Expiration").as_deref().and_then(date::read),
        ..AwsKeys::new(id, secret)
    })
}

async fn whole(
    http: &HttpBackend,
    request: Request<Bytes>,
    lender: &str,
) -> Result<Response<Bytes>, KeysError> {
    let authority = request.uri().authority();
    let authority = authority.map_or_else(|| lender.to_owned(), ToString::to_string);
    let asked = tokio::time::timeout(LENDER_LIMIT, http.ask(request)).await;
    let asked = asked.unwrap_or(Err(HttpError::Silent {
        authority,
        limit: LENDER_LIMIT,
    }));
    asked.map_err(|source| KeysError::Ask {
        lender: lender.to_owned(),
        source,
    })
}

fn bad_address(url: &str) -> KeysError {
    KeysError::Address {
        url: url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn answer(status: u16, body: &'static str) -> Response<Bytes> {
        let answer = Response::builder().status(status);
        answer.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn lent_keys_are_read_with_their_end() {
        let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>a</AccessKeyId>\
            <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
            <Expiration>2013-05-24T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let keys = read_role(&answer(200, body), "STS".to_owned()).unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.expose()), ("a", "s"));
        assert_eq!(keys.until.unwrap().unix_timestamp(), 1_369_353_600);
        assert!(!lasts(&keys, OffsetDateTime::now_utc()));
    }

    /// A machine of AWS, as far as its own service goes. Returns the address.
    async fn machine() -> String {
        serve(|head| {
            let has_token = head.contains("x-aws-ec2-metadata-token: t0k3n");
            match head.split(' ').nth(1) {
                Some("/latest/api/token") => ("200 OK", "t0k3n"),
                Some("/latest/meta-data/placement/region") if has_token => ("200 OK", "eu-north-1"),
                _ => ("401 Unauthorized", "no"),
            }
        })
        .await
    }

    /// Answers requests with a status and a body. Returns the address.
    async fn serve(say: fn(&str) -> (&'static str, &'static str)) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut head = [0; 2048];
                let length = client.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
                let (status, body) = say(&head);
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_machine_says_its_region() {
        let http = HttpBackend::new(crate::HttpOptions::default()).unwrap();
        let found = region_of_instance(&http, &machine().await).await;
        assert_eq!(found.as_deref(), Some("eu-north-1"));
        let nobody = region_of_instance(&http, "http://127.0.0.1:1").await;
        assert_eq!(nobody, None);
    }

    #[tokio::test]
    async fn who_answers_for_a_machine_of_aws_is_named_with_what_is_wrong() {
        let http = HttpBackend::new(crate::HttpOptions::default()).unwrap();
        let at = machine().await;
        let error = of_instance(&http, &at).await.unwrap_err().to_string();
        let who = format!("the machine's own service at `{at}`");
        let told = format!("{who} lends no keys: 401 Unauthorized: no keys for who runs here");
        assert_eq!(error, told);
        // A proxy, say, with a page for every request.
        let at = serve(|_| ("200 OK", "<html>\n<p>welcome</p>\n</html>")).await;
        let error = of_instance(&http, &at).await.unwrap_err().to_string();
        let told = format!("the machine's own service at `{at}` answers without keys");
        assert_eq!(error, told);
        let error = KeysError::NotSaid {
            source: Box::new(bad_address("x")),
        };
        let told = message_chain(&error);
        assert!(
            told.contains("`access_key_id`") && told.contains("`x` is not an address"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn who_lends_nothing_is_not_asked_by_everybody() {
        let url = "http://127.0.0.1:1/".to_owned();
        let http = HttpBackend::new(crate::HttpOptions::default()).unwrap();
        let source = KeySource::new(Origin::Container { url, token: None }, http);
        let first = source.keys().await.unwrap_err();
        assert!(matches!(first, KeysError::Ask { .. }), "{first}");
        let second = source.keys().await.unwrap_err();
        assert!(matches!(second, KeysError::Recently { .. }), "{second}");
        assert!(second.to_string().contains("127.0.0.1:1"), "{second}");
    }

    #[test]
    fn a_refusal_is_told_in_the_lenders_words() {
        let body = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
        let error = read_role(&answer(403, body), "STS".to_owned()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "STS lends no keys: AccessDenied: not you"
        );
        for bad in ["", "<a/>"] {
            assert!(read_role(&answer(200, bad), "STS".to_owned()).is_err());
        }
    }
}
