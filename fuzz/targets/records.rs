//! Feeds JSON and texts to what is kept and said in a lattice: links and their rules, commands,
//! policies and their rules, secrets, reports, credentials, trace contexts, lines of a server's log.
#![no_main]

use std::fmt::Debug;
use std::sync::LazyLock;

use http::{Method, Uri};
use lattice_claims::CurveKey;
use lattice_control::types;
use lattice_core::grant::{self, Grants, Verdict};
use lattice_core::host::{Host, HostInventory};
use lattice_core::identity::ProviderIdentity;
use lattice_core::policy::{PolicyRequest, PolicyResponse};
use lattice_core::provider::{
    BusData, CredentialsTaken, HealthCheckResponse, LinkReply, LinkReport, NewCredentials,
    ShutdownRequest,
};
use lattice_core::road::RoadReport;
use lattice_core::rules::{self, LinkRules, Rate, Rule};
use lattice_core::secrets::{
    ChangeSecretResponse, PutSecretRequest, SecretRequest, SecretResponse,
};
use lattice_core::{CtlResponse, Link, LinkStatus, Locality};
use lattice_nats::connection::Creds;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[path = "../../interfaces/telemetry/src/context.rs"]
mod context;
#[path = "../../host/src/bus_log/line.rs"]
mod line;
#[path = "../../wash-cli/src/commands/policy/pattern.rs"]
mod pattern;
#[path = "../../wash-cli/src/commands/policy/rules.rs"]
mod policy_rules;

static KEY: LazyLock<CurveKey> = LazyLock::new(CurveKey::generate);

fuzz_target!(|data: &[u8]| {
    if data.trim_ascii_start().starts_with(b"{") {
        commands(data);
        said(data);
        sealed(data);
    }
    if let Ok(read) = serde_json::from_slice::<LinkRules>(data) {
        link_rules(&read);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        grants(text);
        texts(text);
        log_lines(text);
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
