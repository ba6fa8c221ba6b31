//! Feeds JSON and texts to what is kept and said in a lattice: links and their rules, commands,
//! policies and their rules, secrets and what their backend keeps, reports, credentials, trace
//! contexts, lines of a server's log and its errors.
#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;

use async_nats::{HeaderMap, Message};
use http::{Method, Uri};
use lattice_claims::{CurveKey, KeyKind, PublicKey, SigningKey};
use lattice_control::types;
use lattice_core::event::{CallRefused, InvocationFailed};
use lattice_core::grant::{self, Grants, Verdict};
use lattice_core::host::{Host, HostInventory};
use lattice_core::identity::ProviderIdentity;
use lattice_core::policy::{PolicyRequest, PolicyResponse};
use lattice_core::provider::{
    BusData, CredentialsTaken, HealthCheckResponse, LinkReply, LinkReport, NewCredentials,
    SecretValue, ShutdownRequest,
};
use lattice_core::road::RoadReport;
use lattice_core::rules::{self, LinkRules, Rate, Rule};
use lattice_core::secrets::{
    ChangeSecretResponse, PutSecretRequest, PutSecretResponse, REQUEST_XKEY, Secret, SecretRequest,
    SecretResponse,
};
use lattice_core::{CtlResponse, Link, LinkStatus, Locality};
use lattice_nats::connection::Creds;
use lattice_secrets::fuzzing as backend;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[path = "../../interfaces/telemetry/src/context.rs"]
mod context;
#[path = "../../host/src/providers/report_filter.rs"]
mod heard;
#[path = "../../host/src/bus_log/line.rs"]
mod line;
#[path = "../../wash-cli/src/commands/policy/pattern.rs"]
mod pattern;
#[path = "../../wash-cli/src/commands/policy/rules.rs"]
mod policy_rules;
#[path = "../../host/src/bus_errors/said.rs"]
mod server_error;

static KEY: LazyLock<CurveKey> = LazyLock::new(CurveKey::generate);
static HOST: LazyLock<PublicKey> = LazyLock::new(|| {
    let key = SigningKey::generate(KeyKind::Host).public_key();
    PublicKey::parse(&key).expect("a generated key is read")
});

fuzz_target!(|data: &[u8]| {
    if data.trim_ascii_start().starts_with(b"{") {
        commands(data);
        said(data);
        reported(data);
        sealed(data);
        asked(data);
    }
    mapped(data);
    if let Ok(read) = serde_json::from_slice::<LinkRules>(data) {
        link_rules(&read);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        grants(text);
        texts(text);
        proofs(text);
        lines(text);
        log_lines(text);
        server_errors(text);
        policy(text);
    }
});

/// What is read is written, and read again as what it was.
fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&value).expect("what was read is written");
        let again: T = serde_json::from_slice(&text).expect("what was written is read");
        assert_eq!(again, value);
    }
}

fn commands(data: &[u8]) {
    same::<types::ScaleComponentCommand>(data);
    same::<types::UpdateComponentCommand>(data);
    same::<types::StartProviderCommand>(data);
    same::<types::StopProviderCommand>(data);
    same::<types::StopHostCommand>(data);
    same::<types::ComponentAuctionRequest>(data);
    same::<types::ComponentAuctionAck>(data);
    same::<types::ProviderAuctionRequest>(data);
    same::<types::ProviderAuctionAck>(data);
    same::<types::HostLabel>(data);
    same::<PutSecretResponse>(data);
    same::<types::DeleteLinkRequest>(data);
    same::<types::RegistryCredentials>(data);
    same::<CtlResponse<String>>(data);
    same::<CtlResponse<Vec<Host>>>(data);
    same::<CtlResponse<HostInventory>>(data);
    if let Ok(link) = serde_json::from_slice::<Link>(data) {
        let _ = (link.check(), link.check_rules());
    }
}

fn said(data: &[u8]) {
    // Numbers of a kind of request that is not known may lose their last digit.
    if let Ok(request) = serde_json::from_slice::<PolicyRequest>(data) {
        let _ = serde_json::to_vec(&request).expect("what was read is written");
    }
    same::<PolicyResponse>(data);
    same::<SecretRequest>(data);
    same::<SecretResponse>(data);
    same::<PutSecretRequest>(data);
    same::<ChangeSecretResponse>(data);
    same::<HealthCheckResponse>(data);
    same::<LinkReport>(data);
    same::<LinkStatus>(data);
    same::<LinkReply>(data);
    same::<RoadReport>(data);
    same::<ShutdownRequest>(data);
    same::<ProviderIdentity>(data);
    same::<BusData>(data);
    let _ = serde_json::from_slice::<NewCredentials>(data);
    let _ = serde_json::from_slice::<CredentialsTaken>(data);
}

/// What a provider reports of calls; who has read it once reads the same in what was taken of it.
fn reported(data: &[u8]) {
    same::<CallRefused>(data);
    same::<InvocationFailed>(data);
    if let Ok(report) = serde_json::from_slice(data)
        && let Some(taken) = heard::refused("a", report)
    {
        assert_eq!(taken.target_id, "a");
        assert!(short(&taken.operation) && short(&taken.error));
        assert!(taken.source_id.as_deref().is_none_or(short));
        assert!(taken.suppressed <= heard::MOST_SUPPRESSED);
        assert_eq!(heard::refused("a", taken.clone()), Some(taken));
    }
    if let Ok(report) = serde_json::from_slice::<InvocationFailed>(data) {
        assert_eq!(heard::failed("a", report.clone(), |_, _| false), None);
        if let Some(taken) = heard::failed("a", report, |_, _| true) {
            assert_eq!(taken.source_id.as_deref(), Some("a"));
            assert!(short(&taken.operation) && short(&taken.error));
            let again = heard::failed("a", taken.clone(), |_, _| true);
            assert_eq!(again, Some(taken));
        }
    }
}

fn short(text: &str) -> bool {
    text.chars().count() <= heard::LONGEST_TEXT && !text.contains(char::is_control)
}

/// Secrets behind a seal that holds.
fn sealed(data: &[u8]) {
    let sealed = KEY.seal(data, &KEY).expect("a generated key seals");
    if let Ok(secrets) = KEY.open_secrets(Some(&sealed), &KEY) {
        let again = KEY
            .seal_secrets(&secrets, &KEY)
            .expect("secrets are sealed");
        let again = KEY.open_secrets(again.as_deref(), &KEY);
        assert_eq!(again.ok(), Some(secrets));
    }
}

/// What the backend of secrets is asked, and has in its bucket under a key of its own choice.
fn asked(data: &[u8]) {
    let sealed = KEY.seal(data, &KEY).expect("a generated key seals");
    let request = serde_json::from_slice::<PutSecretRequest>(data).ok();
    let name = request.as_ref().map_or("a", |request| &request.key);
    let value = backend::stored(&KEY, name, &sealed);
    // What is not ours is taken as it is, as 1.x seals it; what is ours opens under its key only.
    if let Some(request) = &request {
        let again = backend::sealed(&KEY, request).expect("what was read is sealed");
        assert_eq!(
            backend::stored(&KEY, name, &again),
            request.clone().into_value()
        );
        if name != "another" {
            assert!(backend::stored(&KEY, "another", &again).is_none());
        }
    }
    if let Some(value) = value {
        let _ = backend::field(Secret::new("1", value), "a");
    }
    let headers = HeaderMap::from_iter([(
        REQUEST_XKEY.parse().expect("it is the name of a header"),
        KEY.public_key().parse().expect("a key is a header"),
    )]);
    let question = |payload: Vec<u8>, headers| Message {
        subject: "a".into(),
        reply: None,
        length: payload.len(),
        payload: payload.into(),
        headers,
        status: None,
        description: None,
    };
    assert!(backend::question(&KEY, &question(data.to_vec(), None)).is_none());
    let read = backend::question(&KEY, &question(sealed, Some(headers)));
    assert_eq!(read, serde_json::from_slice(data).ok());
}

/// Which secrets an entity may have, as they are stored and said.
fn mapped(data: &[u8]) {
    same::<Vec<String>>(data);
    if let Some(keys) = backend::listed(data) {
        let written = serde_json::to_vec(&keys).expect("texts are written");
        assert_eq!(backend::listed(&written), Some(keys));
    }
}

/// Reports and questions of which the lines of a text are the texts.
fn lines(text: &str) {
    let json = |value: Value| value.to_string().into_bytes();
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (a, b, c, d) = (line(), line(), line(), line());
    let mut report = json!({
        "host_id": a, "target_id": d, "component_id": d, "source_id": a, "operation": b, "error": c,
        "suppressed": text.len() * 100_000,
    });
    for code in ["denied", "timeout"] {
        report["code"] = code.into();
        reported(&json(report.clone()));
    }
    mapped(&json(json!([a, b, c, d])));
    // Seals take time.
    if let Some(key) = a.strip_prefix('=') {
        asked(&json(json!({ "key": key, "string_secret": b })));
        asked(&json(json!({ "key": key, "binary_secret": b.as_bytes() })));
        let application = json!({ "name": c, "policy": d });
        let context = json!({ "entity_jwt": c, "host_jwt": d, "application": application });
        asked(&json(
            json!({ "key": key, "field": b, "version": b, "context": context }),
        ));
    }
}

/// Names and proofs that are said to the backend of secrets, or by it.
fn proofs(text: &str) {
    let _ = (backend::is_entity(text), backend::is_key(text));
    let _ = backend::field(Secret::new("1", SecretValue::String(text.to_owned())), "a");
    assert!(!backend::is_question_of(&HOST, "XA", b"sealed", text));
    assert!(!backend::is_answer_of(&KEY, "XA", &KEY, text));
}

fn link_rules(read: &LinkRules) {
    let _ = (read.to_string(), read.is_empty(), read.for_target());
    for (namespace, package, interface) in [
        ("wasi", "keyvalue", "store"),
        ("wasi", "http", "outgoing-handler"),
        ("wasmcloud", "messaging", "consumer"),
        ("a", "b", "c"),
    ] {
        let _ = read.check(namespace, package, &[interface.to_owned()]);
    }
    for item in read.list(Rule::Subject) {
        let _ = rules::matches_subject(&read.subject, item);
        let _ = rules::matches_prefix(&read.prefix, item);
        let _ = rules::matches_name(&read.within, item);
    }
}

/// A list of grants, then the addresses of requests.
fn grants(text: &str) {
    let (list, addresses) = text.split_once('\n').unwrap_or((text, text));
    let grants = Grants::parse(list);
    if let Err(refused) = &grants {
        let _ = (refused.to_string(), refused.shown());
    }
    let grants = grants.unwrap_or_default();
    for address in addresses.split('\n') {
        let (method, uri) = address.split_once(' ').unwrap_or(("GET", address));
        let (Ok(method), Ok(uri)) = (method.parse::<Method>(), uri.parse::<Uri>()) else {
            continue;
        };
        let verdict = grants.judge(&method, &uri);
        assert!(verdict == Verdict::Denied || grants != Grants::none());
        // Whoever is told what would have been needed can take that over.
        if uri
            .scheme()
            .is_some_and(|s| ["http", "https"].contains(&s.as_str()))
        {
            let wanted = grant::wanted(&method, &uri);
            if let Ok(wanted) = Grants::parse(&wanted) {
                assert_ne!(wanted.judge(&method, &uri), Verdict::Denied);
            }
        }
    }
}

fn texts(text: &str) {
    if let Ok(rate) = text.parse::<Rate>() {
        assert_eq!(rate.to_string().parse(), Ok(rate));
    }
    let _ = text.parse::<Locality>();
    if let Some(creds) = Creds::parse(text) {
        assert_eq!(Creds::parse(creds.to_text().expose()), Some(creds));
    }
    if let Some(told) = context::Told::read(text) {
        assert_eq!(context::Told::read(&told.write()), Some(told));
        let _ = told.context(Some(text));
    }
    let pattern = pattern::Pattern::from(text.to_owned());
    assert!(pattern.fits(text));
}

/// What a client says of itself in a line is not taken for what the server says.
fn log_lines(text: &str) {
    let _ = line::read(text);
    let said = text.replace(['\r', '\n'], "");
    let true_end = r#" - "A/me" - Publish Violation - Subject "true""#;
    let refused = line::read(&format!("{said}{true_end}")).expect("it is a refusal");
    assert_eq!(refused.user.as_deref(), Some("A/me"));
    assert_eq!((&*refused.action, &*refused.subject), ("publish", "true"));
}

/// What a server says of a subject that it refuses.
fn server_errors(text: &str) {
    let _ = server_error::read(text);
    let subject = text.replace('"', "");
    let said = format!(r#"Permissions Violation for Subscription to "{subject}" using queue "q""#);
    let refused = server_error::read(&said).expect("it is a refusal");
    assert_eq!((&*refused.action, refused.subject), ("subscribe", subject));
}

/// Rules, then requests.
fn policy(text: &str) {
    let (rules, requests) = text.split_once("\n---\n").unwrap_or((text, ""));
    let Ok(rules) = policy_rules::Rules::parse(rules) else {
        return;
    };
    let _ = rules.len();
    for request in requests.split('\n') {
        if let Ok(request) = serde_json::from_str::<PolicyRequest>(request) {
            let decision = rules.decide(&request);
            let answer = decision.response(&request);
            assert_eq!(answer.permitted, decision.permitted());
            assert!(!decision.by.is_empty());
        }
    }
}
