//! TLS and a login in front of the library's brokers, which have neither.
//!
//! What comes decrypted goes to them as it is. They tell clients where they are, which is said anew
//! on the way back so that clients come here again.

mod scram;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use scram::{Answer, Scram};

const API_VERSIONS: i16 = 18;
const HANDSHAKE: i16 = 17;
const AUTHENTICATE: i16 = 36;
const NOT_SUPPORTED: i16 = 35;
const NO_SUCH_MECHANISM: i16 = 33;
const REFUSED: i16 = 58;
const HOST: &[u8] = b"127.0.0.1";

/// An authority, with what it has signed for `broker` and `client`.
pub(crate) struct Authority(TempDir);

impl Authority {
    pub(crate) async fn new() -> Self {
        let authority = Self(tempfile::tempdir().unwrap());
        authority.make("ca", &[]).await;
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key"];
        let end = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let place = ["-addext", "subjectAltName=IP:127.0.0.1"];
        authority
            .make("broker", &[&signed[..], &end, &place].concat())
            .await;
        authority
            .make("client", &[&signed[..], &end].concat())
            .await;
        authority
    }

    /// Makes a key and a certificate for it.
    async fn make(&self, name: &str, more: &[&str]) {
        let [key, pem] = ["key", "pem"].map(|end| format!("{name}.{end}"));
        let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        let mut command = Command::new("openssl");
        command.args(new.split(' '));
        command.args(["-keyout", &key, "-out", &pem, "-subj"]);
        command.arg(format!("/CN={name}")).args(more);
        let made = command.current_dir(self.0.path()).output().await.unwrap();
        let words = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{words}");
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A server that wants a certificate of this authority from its clients if it is `strict`.
    fn server(&self, strict: bool) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.pem"))).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match strict {
            true => builder.with_client_cert_verifier(verifier.build().unwrap()),
            false => builder.with_no_client_auth(),
        };
        let chain = vec![certificate(&self.path("broker.pem"))];
        let key = PrivateKeyDer::from_pem_file(self.path("broker.key")).unwrap();
        builder.with_single_cert(chain, key).unwrap()
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

/// What the front wants of clients.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wants {
    /// A certificate.
    pub(crate) certificate: bool,
    /// This user and password.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// How they are told.
    pub(crate) mechanism: Mechanism,
}

/// How a client logs in.
#[derive(Clone, Copy, Default)]
pub(crate) enum Mechanism {
    #[default]
    Plain,
    ScramSha256,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// What a client has to say, and how far it is.
struct Login {
    who: (&'static str, &'static str),
    mechanism: Mechanism,
    scram: Scram,
}

impl Login {
    /// The answer to a step, and whether it was the last one; `None` for who is not known.
    fn step(&mut self, said: &[u8]) -> Option<(String, bool)> {
        match self.mechanism {
            Mechanism::Plain => {
                let (user, password) = self.who;
                let is_in = said == format!("\0{user}\0{password}").as_bytes();
                is_in.then(|| (String::new(), true))
            }
            Mechanism::ScramSha256 => {
                match self.scram.step(std::str::from_utf8(said).ok()?, self.who) {
                    Answer::GoOn(answer) => Some((answer, false)),
                    Answer::Welcome(answer) => Some((answer, true)),
                    Answer::Refused => None,
                }
            }
        }
    }
}

/// Stands before brokers until it is dropped.
pub(crate) struct Front {
    pub(crate) hosts: String,
    task: JoinHandle<()>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Front {
    pub(crate) async fn before(brokers: &str, authority: &Authority, wants: Wants) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = door.local_addr().unwrap().port();
        let brokers = brokers.to_owned();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(wants.certificate)));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = door.accept().await {
                let (acceptor, brokers) = (acceptor.clone(), brokers.clone());
                // Whoever is refused hears it from TLS, or finds the connection closed.
                tokio::spawn(async move {
                    let client = acceptor.accept(client).await?;
                    serve(client, &brokers, port, wants).await
                });
            }
        });
        let hosts = format!("127.0.0.1:{port}");
        Self { hosts, task }
    }
}

async fn serve<S>(mut client: S, brokers: &str, port: u16, wants: Wants) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut broker = TcpStream::connect(brokers).await?;
    if let Some(who) = wants.login {
        let mut own = Login {
            who,
            mechanism: wants.mechanism,
            scram: Scram::default(),
        };
        while !login(&mut client, &mut broker, &mut own).await? {}
    }
    let from: u16 = brokers.rsplit_once(':').unwrap().1.parse().unwrap();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_broker, mut to_broker) = broker.into_split();
    let there = tokio::io::copy(&mut from_client, &mut to_broker);
    let back = async {
        loop {
            let answer = read(&mut from_broker).await?;
            write(&mut to_client, &moved(answer, from, port)).await?;
        }
    };
    tokio::select! {
        ended = there => ended.map(drop),
        ended = back => ended,
    }
}

/// The same answer with brokers at another port.
fn moved(mut answer: Vec<u8>, from: u16, to: u16) -> Vec<u8> {
    let place = [HOST, &u32::from(from).to_be_bytes()].concat();
    for at in 0..answer.len().saturating_sub(place.len() - 1) {
        if answer[at..].starts_with(&place) {
            answer[at + HOST.len()..at + place.len()].copy_from_slice(&u32::from(to).to_be_bytes());
        }
    }
    answer
}

/// Answers one request of a client that has not logged in; says whether it has by now.
async fn login<S>(client: &mut S, broker: &mut TcpStream, own: &mut Login) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = read(client).await?;
    let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
    let (what, version, correlation) = (number(0), number(2), &request[4..8]);
    // After the name of the client.
    let rest = &request[10 + usize::try_from(number(8)).unwrap_or_default()..];
    let mut is_in = false;
    let body = match what {
        API_VERSIONS if version > 0 => {
            let only = [1, i32::from(API_VERSIONS) << 16];
            [
                &NOT_SUPPORTED.to_be_bytes()[..],
                &only.map(i32::to_be_bytes).concat(),
                &[0, 0],
            ]
            .concat()
        }
        API_VERSIONS => {
            write(broker, &request).await?;
            with_login(&read(broker).await?[4..])
        }
        HANDSHAKE => {
            let name = own.mechanism.name();
            let known = &rest[2..] == name.as_bytes();
            let error = if known { 0 } else { NO_SUCH_MECHANISM };
            let names = [b"\0\0\0\x01\0", &[name.len() as u8][..], name.as_bytes()];
            [&error.to_be_bytes()[..], &names.concat()].concat()
        }
        AUTHENTICATE => match own.step(&rest[4..]) {
            Some((answer, is_last)) => {
                is_in = is_last;
                let size = u32::try_from(answer.len()).unwrap().to_be_bytes();
                [b"\0\0\xff\xff", &size[..], answer.as_bytes()].concat()
            }
            None => {
                let words = b"\0\x13who are you, really";
                [&REFUSED.to_be_bytes()[..], &words[..], &[0; 4]].concat()
            }
        },
        other => {
            return Err(io::Error::other(format!(
                "request {other} before the login"
            )));
        }
    };
    write(client, &[correlation, &body].concat()).await?;
    Ok(is_in)
}

/// What brokers can do, and logins.
fn with_login(versions: &[u8]) -> Vec<u8> {
    let count = i32::from_be_bytes([versions[2], versions[3], versions[4], versions[5]]);
    let mut body = [&versions[..2], &(count + 2).to_be_bytes(), &versions[6..]].concat();
    for (what, last) in [(HANDSHAKE, 1_i16), (AUTHENTICATE, 0)] {
        body.extend([what.to_be_bytes(), [0; 2], last.to_be_bytes()].concat());
    }
    body
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; usize::try_from(from.read_u32().await?).unwrap()];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    to.write_u32(u32::try_from(frame.len()).unwrap()).await?;
    to.write_all(frame).await?;
    to.flush().await
}
