//! `wash call`: one call of a function, or one HTTP request, over the lattice.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lattice_claims::peer::sign_host;
use lattice_claims::{CurveKey, KeyKind, PublicKey, SigningKey, epoch_seconds};
use lattice_codec::{Reader, write};
use lattice_core::identity::PeerTokens;
use lattice_core::provider::SecretText;
use lattice_core::subject::RpcPrefix;
use lattice_core::{ComponentId, link::lookup_name};
use lattice_rpc::{Auth, AuthSettings, CallError, Invocation, Peer, PeerConfig};
use serde_json::Value;
use tokio::time::Instant;

use crate::connection::{self, RpcArgs, Settings};
use crate::error::{CliError, Code, Result};
use crate::output::{Output, Ui, fields};

mod http;

/// Who calls, as the called side sees it.
const SOURCE: &str = "wash";
/// The second is the name by which 1.x components serve each other's HTTP.
const HTTP_HANDLERS: [&str; 2] = ["wasi:http/incoming-handler", "wrpc:http/incoming-handler"];

/// Call a function of a component or provider
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the component or provider
    id: String,
    /// Function, such as `wasi:http/incoming-handler.handle` or `example:greet/greeter.hello`
    function: String,
    /// Arguments, each a string
    args: Vec<String>,
    #[command(flatten)]
    http: http::HttpArgs,
    #[command(flatten)]
    connection: RpcArgs,
}

/// An instance and a function of it; the instance is empty for functions of the world itself.
#[derive(Debug, PartialEq, Eq)]
struct Operation<'a> {
    instance: &'a str,
    function: &'a str,
}

impl<'a> Operation<'a> {
    /// Versions hold dots, so the last dot is the one before the function.
    fn parse(text: &'a str) -> Result<Self> {
        let (instance, function) = match text.contains(':') {
            true => text.rsplit_once('.').unwrap_or((text, "")),
            false => ("", text),
        };
        let formed = |part: &str| !part.chars().any(|c| c.is_whitespace() || "*>".contains(c));
        let complete = instance.is_empty() || (instance.contains('/') && !function.contains('/'));
        if complete && !function.is_empty() && formed(text) {
            return Ok(Self { instance, function });
        }
        Err(
            CliError::new(Code::Usage, format!("`{text}` does not name a function")).hint(
                "write `namespace:package/interface.function`, with `@version` if it has one",
            ),
        )
    }

    fn is_http(&self) -> bool {
        HTTP_HANDLERS.contains(&lookup_name(self.instance)) && self.function == "handle"
    }
}

pub(crate) async fn run(args: Args, ui: &Ui) -> Result<Output> {
    let operation = Operation::parse(&args.function)?;
    let id = crate::resolve::entity_id(&args.id)?;
    let settings = args.connection.given().settle()?;
    if operation.is_http() {
        if !args.args.is_empty() {
            return Err(
                CliError::new(Code::Usage, "an HTTP handler takes no arguments")
                    .hint("say what to send with `--http-method`, `--http-path` and `--http-body`"),
            );
        }
        let request = args.http.request()?;
        let spinner = ui.spinner(format!("Sending the request to {id}"));
        let peer = peer(&settings).await?;
        let prefix = RpcPrefix::new(&settings.lattice, &id);
        let subject = prefix.invocation(
            lattice_rpc::http::INCOMING_HANDLER,
            lattice_rpc::http::HANDLE,
        );
        let invocation = invocation(subject, &settings);
        // Who has not said how long the call may take wants what the handler sends.
        let until = settings.timeout_flag.then(|| invocation.deadline());
        let answer = http::send(&peer, invocation, request, until).await;
        close(peer).await;
        drop(spinner);
        if let Err(http::SendFailure::Late(begun)) = &answer {
            show_part(&args.http, begun, ui)?;
        }
        return args
            .http
            .output(answer.map_err(|failure| explain_http(failure, &id, &args.function))?);
    }
    let spinner = ui.spinner(format!("Calling {} of {id}", args.function));
    let peer = peer(&settings).await?;
    let subject =
        RpcPrefix::new(&settings.lattice, &id).invocation(operation.instance, operation.function);
    let result = peer
        .call(invocation(subject, &settings), encode(&args.args))
        .await;
    close(peer).await;
    drop(spinner);
    let bytes = result.map_err(|error| explain(&error, &id, &args.function))?;
    let text = decode(bytes)?;
    let data = fields([("result", Value::from(text.as_str()))]);
    Ok(Output::new(text, data))
}

/// Prints what came of a response that did not end. A program gets one document, which says why.
fn show_part(http: &http::HttpArgs, begun: &http::Answer, ui: &Ui) -> Result<()> {
    match http.part(begun) {
        Some(part) if !ui.is_json() => ui.success(&part).map(|_| ()),
        _ => Ok(()),
    }
}

async fn peer(settings: &Settings) -> Result<Peer> {
    let nats = connection::connect(settings).await?;
    let auth = settings.cluster.as_ref().map(|seed| member(settings, seed));
    let config = PeerConfig {
        auth: auth.transpose()?,
        ..PeerConfig::default()
    };
    Peer::new(nats, config).await.map_err(|error| {
        CliError::new(
            Code::NatsUnreachable,
            "could not set up the connection for calls",
        )
        .caused_by(&error)
    })
}

/// How long what shows that this command belongs to the cluster holds.
const MEMBERSHIP: Duration = Duration::from_secs(3600);

/// What the call proves who makes it with: whoever holds the seed of the cluster may name members.
fn member(settings: &Settings, seed: &SecretText) -> Result<Auth> {
    let unusable = |error: &(dyn std::error::Error + 'static)| {
        CliError::new(
            Code::CredentialsInvalid,
            "the seed of the cluster cannot be used",
        )
        .caused_by(error)
        .hint("give one that begins with `SC`, as the hosts have it, by `--cluster-seed`")
    };
    let cluster = SigningKey::from_seed(seed.expose())
        .and_then(|key| key.expect_kind(KeyKind::Cluster))
        .map_err(|error| unusable(&error))?;
    let key = CurveKey::generate();
    let lattice = settings.lattice.to_string();
    let own = SigningKey::generate(KeyKind::Host).public_key();
    let host = sign_host(
        &cluster,
        &own,
        &lattice,
        &key,
        (epoch_seconds(), MEMBERSHIP),
    )
    .map_err(|error| unusable(&error))?;
    let trusted = PublicKey::parse(&cluster.public_key()).map_err(|error| unusable(&error))?;
    Ok(Auth::new(AuthSettings {
        lattice,
        key,
        tokens: PeerTokens {
            host,
            provider: None,
        },
        trusted: vec![trusted],
        strict: false,
        confined: false,
        links: None,
        reports: None,
    }))
}

/// Lets the last messages out; the result does not depend on it.
async fn close(peer: Peer) {
    const GRACE: std::time::Duration = std::time::Duration::from_secs(1);
    let nats = peer.nats().clone();
    let _ = tokio::time::timeout(GRACE, async move {
        peer.close().await;
        nats.flush().await
    })
    .await;
}

fn invocation(subject: String, settings: &Settings) -> Invocation {
    Invocation::new(subject, Instant::now() + settings.timeout).source(SOURCE)
}

fn encode(args: &[String]) -> Bytes {
    let mut params = BytesMut::new();
    for arg in args {
        write::string(&mut params, arg);
    }
    params.freeze()
}

/// Reads a string; a function without a result gives an empty one.
fn decode(bytes: Bytes) -> Result<String> {
    if bytes.is_empty() {
        return Ok(String::new());
    }
    let mut reader = Reader::new(bytes.clone());
    let text = reader
        .string()
        .and_then(|text| reader.finish().map(|()| text));
    text.map_err(|error| {
        const SHOWN: usize = 64;
        let shown: String = bytes
            .iter()
            .take(SHOWN)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let more = if bytes.len() > SHOWN { "…" } else { "" };
        CliError::new(Code::BadReply, "the function did not return a string")
            .caused_by(&error)
            .cause(format!("it returned {} bytes: {shown}{more}", bytes.len()))
            .hint("`wash call` shows results of type string")
    })
}

fn explain(error: &CallError, id: &ComponentId, function: &str) -> CliError {
    let failed = |code: Code| CliError::new(code, format!("could not call `{function}` of `{id}`"));
    match error {
        CallError::NotServed { .. } => CliError::new(
            Code::EntityNotFound,
            format!("nobody in the lattice serves `{function}` of `{id}`"),
        )
        .caused_by(error)
        .hint("`wash get inventory` shows what runs, `wash inspect FILE` what a component exports"),
        CallError::Deadline { .. } => failed(Code::Timeout)
            .caused_by(error)
            .hint("allow more time with `-t MILLISECONDS`"),
        CallError::Remote(remote) => {
            let error = failed(Code::CallFailed).cause(remote.message.as_str());
            match &remote.hint {
                Some(hint) => error.hint(hint.as_str()),
                None => error,
            }
        }
        CallError::Send(_) | CallError::Cancelled => failed(Code::NatsUnreachable).caused_by(error),
        CallError::Incomplete { .. } => failed(Code::CallFailed)
            .caused_by(error)
            .hint("it trapped, or takes other arguments; the log of its host says which"),
        _ => failed(Code::CallFailed).caused_by(error),
    }
}

fn explain_http(failure: http::SendFailure, id: &ComponentId, function: &str) -> CliError {
    match failure {
        http::SendFailure::Http(lattice_rpc::http::HttpError::Call(error)) => {
            explain(&error, id, function)
        }
        http::SendFailure::Http(error) => CliError::new(
            Code::CallFailed,
            format!("`{id}` did not answer the request"),
        )
        .caused_by(&error),
        http::SendFailure::Late(begun) => CliError::new(
            Code::Timeout,
            format!("the response of `{id}` did not end in time"),
        )
        .cause(format!("{} bytes of its body came", begun.received()))
        .hint("allow more time with `-t MILLISECONDS`, or ask for something that ends"),
        http::SendFailure::Body(error) => CliError::new(
            Code::BadReply,
            format!("could not read the response of `{id}`"),
        )
        .cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_split_at_the_function() {
        let parse = |text| Operation::parse(text).unwrap();
        assert_eq!(
            parse("wasi:http/incoming-handler@0.2.2.handle"),
            Operation {
                instance: "wasi:http/incoming-handler@0.2.2",
                function: "handle"
            }
        );
        for package in ["wasi", "wrpc"] {
            let text = format!("{package}:http/incoming-handler.handle");
            assert!(Operation::parse(&text).unwrap().is_http());
        }
        assert_eq!(
            parse("add"),
            Operation {
                instance: "",
                function: "add"
            }
        );
        for text in ["a:b/c", "", "a:b.c", "a:b/c.", "a:b/c.d e", "a:b/*.f"] {
            assert_eq!(
                Operation::parse(text).unwrap_err().code(),
                Code::Usage,
                "{text}"
            );
        }
    }

    #[test]
    fn strings_go_in_and_come_out() {
        assert_eq!(decode(encode(&["hi".into()])).unwrap(), "hi");
        assert_eq!(decode(Bytes::new()).unwrap(), "");
        let error = decode(Bytes::from_static(&[7, 1])).unwrap_err();
        assert_eq!(error.code(), Code::BadReply);
        assert!(
            error.causes().iter().any(|cause| cause.contains("0701")),
            "{error}"
        );
    }
}
