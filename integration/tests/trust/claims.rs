//! What is not what it claims to be, or not from whom it has to be, does not run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lattice_claims::archive::{ArchiveBuilder, native_target};
use lattice_claims::component::ValidTimes;
use lattice_claims::{
    Claims, ComponentMetadata, KeyKind, ProviderMetadata, SignerMetadata, SigningKey,
    epoch_seconds, sign_component, wasm,
};
use lattice_integration::{
    ECHO, Event, HostOptions, Lattice, STEP, call, component, echo, program, text, until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A guest that answers calls.
const GUEST: &str = "probe";
const DAY: i64 = 86_400;

/// Keys, and a folder for files that they sign.
pub(super) struct Workshop {
    folder: TempDir,
    pub(super) account: SigningKey,
    pub(super) stranger: SigningKey,
}

impl Workshop {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new()
                .prefix("lattice-signed-")
                .tempdir()?,
            account: SigningKey::generate(KeyKind::Account),
            stranger: SigningKey::generate(KeyKind::Account),
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let path = self.path(name);
        fs::write(&path, bytes)?;
        Ok(format!("file://{}", path.display()))
    }
}

pub(super) fn now() -> ValidTimes {
    ValidTimes::from(epoch_seconds())
}

/// As of `now`, with an end and a beginning that many seconds away.
fn times(expires: Option<i64>, not_before: Option<i64>) -> ValidTimes {
    let now = epoch_seconds();
    let at = |seconds: i64| now.saturating_add_signed(seconds);
    ValidTimes {
        now,
        expires: expires.map(at),
        not_before: not_before.map(at),
    }
}

pub(super) fn guest() -> Result<Vec<u8>> {
    let reference = component(GUEST)?;
    let path = reference.strip_prefix("file://").context("a file")?;
    Ok(fs::read(path)?)
}

pub(super) fn signed(issuer: &SigningKey, times: ValidTimes) -> Result<Vec<u8>> {
    let metadata = ComponentMetadata {
        name: Some("probe".into()),
        revision: Some(7),
        version: Some("1.2.3".into()),
        ..ComponentMetadata::default()
    };
    let subject = SigningKey::generate(KeyKind::Component);
    Ok(sign_component(
        &guest()?,
        metadata,
        issuer,
        &subject,
        times,
    )?)
}

/// An archive with this program for this machine, not compressed.
fn archive(issuer: &SigningKey, program: &[u8], times: ValidTimes) -> Result<Vec<u8>> {
    let metadata = ProviderMetadata {
        name: Some("kv".into()),
        vendor: "Example".into(),
        revision: Some(4),
        version: Some("0.9.0".into()),
        ..ProviderMetadata::default()
    };
    let subject = SigningKey::generate(KeyKind::Provider);
    let mut bytes = Vec::new();
    ArchiveBuilder::new(metadata)
        .library(&native_target(), program.to_vec())?
        .write(&mut bytes, false, issuer, &subject, times)?;
    Ok(bytes)
}

/// Other code under the same token, as somebody makes it who cannot sign.
fn flipped(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    // In a text of the guest's own, so that the file is still a component.
    let text = b"panicked".as_slice();
    let at = bytes.windows(text.len()).position(|found| found == text);
    bytes[at.context("no such text in the guest")?] ^= 1;
    Ok(bytes)
}

/// A program that leaves a mark where it is run.
fn marking(mark: &Path) -> Vec<u8> {
    format!("#!/bin/sh\ntouch {}\nsleep 600\n", mark.display()).into_bytes()
}

/// The same archive with another program of the same length in the place of the one signed.
fn swapped(archive: Vec<u8>, good: &[u8], evil: &[u8]) -> Result<Vec<u8>> {
    ensure!(good.len() == evil.len(), "the length would tell");
    let at = archive.windows(good.len()).position(|found| found == good);
    let at = at.context("the archive is compressed")?;
    let mut archive = archive;
    archive[at..at + evil.len()].copy_from_slice(evil);
    Ok(archive)
}

/// Asks for a start and waits for how it ends.
pub(super) async fn start_component(lattice: &Lattice, id: &str, reference: &str) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": reference, "component_id": id, "count": 1, "host_id": host,
    });
    lattice
        .ctl_ok(&format!("component.scale.{host}"), command)
        .await?;
    let ended = |event: &Event| {
        event.name.starts_with("component_scale") && event.data("component_id") == id
    };
    lattice.events.wait_after(mark, ended, STEP).await
}

async fn start_provider(lattice: &Lattice, id: &str, reference: &str) -> Result<Event> {
    let host = lattice.host(0);
    let mark = lattice.events.len();
    let command = json!({ "provider_id": id, "provider_ref": reference, "host_id": host });
    lattice
        .ctl_ok(&format!("provider.start.{host}"), command)
        .await?;
    let ended =
        |event: &Event| event.name.starts_with("provider_start") && event.data("provider_id") == id;
    lattice.events.wait_after(mark, ended, STEP).await
}

/// The event says that it was refused, with this code and for this reason.
fn refused(event: &Event, code: &str, part: &str) -> Result<()> {
    ensure!(
        event.name.ends_with("_failed"),
        "not refused: {}",
        event.body
    );
    ensure!(event.data("code") == code, "{}", event.body);
    ensure!(event.data("error").contains(part), "{}", event.body);
    ensure!(!event.data("hint").is_empty(), "{}", event.body);
    Ok(())
}

/// A signed component starts and answers, whatever was refused before.
async fn is_unharmed(lattice: &Lattice, workshop: &Workshop) -> Result<()> {
    let good = workshop.file("good.wasm", &signed(&workshop.account, now())?)?;
    let event = start_component(lattice, "good", &good).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    echo(&lattice.peer().await?, "good").await?;
    let running = lattice.inventory(0).await?;
    let ids: Vec<&Value> = running["components"]
        .as_array()
        .context("components")?
        .iter()
        .map(|component| &component["id"])
        .collect();
    ensure!(ids == [&json!("good")], "what was refused runs: {running}");
    ensure!(running["providers"] == json!([]), "{running}");
    Ok(())
}

async fn host(arguments: &[&str]) -> Result<Lattice> {
    Lattice::start_host(arguments).await
}

#[tokio::test]
async fn components_that_are_not_what_was_signed_are_refused() -> Result<()> {
    let shop = Workshop::new()?;
    let trusted = shop.account.public_key();
    let lattice = host(&["--trusted-issuer", &trusted]).await?;
    let stranger = shop.stranger.public_key();
    let good = |times| signed(&shop.account, times);
    let attacks = [
        (
            "flipped",
            flipped(good(now())?)?,
            "claims-invalid",
            "hash mismatch",
        ),
        (
            "expired",
            good(times(Some(-DAY), None))?,
            "claims-invalid",
            "token expired",
        ),
        (
            "early",
            good(times(None, Some(DAY)))?,
            "claims-invalid",
            "token not yet usable",
        ),
        (
            "stranger",
            signed(&shop.stranger, now())?,
            "issuer-not-trusted",
            stranger.as_str(),
        ),
        ("unsigned", guest()?, "not-signed", "not signed"),
        ("unbound", unbound(&shop)?, "claims-invalid", "revision 3"),
        (
            "forged",
            forged(&shop)?,
            "claims-invalid",
            "signature invalid",
        ),
    ];
    for (id, bytes, code, part) in attacks {
        let reference = shop.file(&format!("{id}.wasm"), &bytes)?;
        let event = start_component(&lattice, id, &reference).await?;
        refused(&event, code, part).context(id)?;
    }
    is_unharmed(&lattice, &shop).await
}

/// A token of before there were hashes that are compared, moved to another file.
pub(super) fn unbound(shop: &Workshop) -> Result<Vec<u8>> {
    let subject = SigningKey::generate(KeyKind::Component).public_key();
    let mut claims = Claims::new(subject, ComponentMetadata::default(), epoch_seconds());
    claims.revision = Some(2);
    let token = claims.sign(&shop.account)?;
    Ok(wasm::with_token(&guest()?, &token)?)
}

/// A token that names the trusted account and is signed by somebody else.
fn forged(shop: &Workshop) -> Result<Vec<u8>> {
    let theirs = signed(&shop.stranger, now())?;
    let ours = signed(&shop.account, now())?;
    let token = |bytes: &[u8]| -> Result<String> {
        Ok(wasm::find_token(bytes)?.context("a token")?.to_owned())
    };
    let (theirs, ours) = (token(&theirs)?, token(&ours)?);
    let (claims, _) = ours.rsplit_once('.').context("a token")?;
    let (_, signature) = theirs.rsplit_once('.').context("a token")?;
    Ok(wasm::with_token(
        &guest()?,
        &format!("{claims}.{signature}"),
    )?)
}

#[tokio::test]
async fn programs_that_are_not_what_was_signed_are_never_run() -> Result<()> {
    let shop = Workshop::new()?;
    let trusted = shop.account.public_key();
    let lattice = host(&["--trusted-issuer", &trusted]).await?;
    let stranger = shop.stranger.public_key();
    let (mark, other) = (shop.path("mark"), shop.path("nice"));
    let (evil, good) = (marking(&mark), marking(&other));
    let of = |times| archive(&shop.account, &evil, times);
    let attacks = [
        (
            "swapped",
            swapped(archive(&shop.account, &good, now())?, &good, &evil)?,
            "claims-invalid",
            "hash mismatch",
        ),
        (
            "expired",
            of(times(Some(-DAY), None))?,
            "claims-invalid",
            "token expired",
        ),
        (
            "early",
            of(times(None, Some(DAY)))?,
            "claims-invalid",
            "token not yet usable",
        ),
        (
            "stranger",
            archive(&shop.stranger, &evil, now())?,
            "issuer-not-trusted",
            stranger.as_str(),
        ),
        ("bare", evil.clone(), "not-signed", "not signed"),
    ];
    for (id, bytes, code, part) in attacks {
        let reference = shop.file(id, &bytes)?;
        fs::set_permissions(shop.path(id), fs::Permissions::from_mode(0o755))?;
        let event = start_provider(&lattice, id, &reference).await?;
        refused(&event, code, part).context(id)?;
    }
    is_unharmed(&lattice, &shop).await?;
    ensure!(!mark.exists() && !other.exists(), "a program was run");
    Ok(())
}

#[tokio::test]
async fn a_signed_provider_runs_and_shows_its_claims() -> Result<()> {
    let shop = Workshop::new()?;
    let lattice = host(&["--require-signed"]).await?;
    let program = fs::read(program("keyvalue-memory-provider")?)?;
    let bytes = archive(&shop.account, &program, times(Some(DAY), None))?;
    let reference = shop.file("kv.par", &bytes)?;
    let event = start_provider(&lattice, "kv", &reference).await?;
    ensure!(event.name == "provider_started", "{}", event.body);
    let claims = &event.body["data"]["claims"];
    ensure!(
        claims["revision"] == 4 && claims["version"] == "0.9.0",
        "{}",
        event.body
    );
    let shown = lattice.inventory(0).await?["providers"][0].clone();
    ensure!(
        shown["version"] == "0.9.0" && shown["revision"] == 4,
        "{shown}"
    );
    ensure!(shown["expires"].as_u64() > Some(epoch_seconds()), "{shown}");
    // Signed by anybody will do here, and not signed will not.
    let event = start_component(&lattice, "bare", &component(GUEST)?).await?;
    refused(&event, "not-signed", "not signed")
}

#[tokio::test]
async fn accounts_of_a_trusted_operator_sign_for_it() -> Result<()> {
    let shop = Workshop::new()?;
    let operator = SigningKey::generate(KeyKind::Operator);
    let helper = SigningKey::generate(KeyKind::Account);
    let token = |issuer: &SigningKey| -> Result<String> {
        let metadata = SignerMetadata {
            name: Some("shop".into()),
            valid_signers: Some(vec![helper.public_key()]),
        };
        let mut claims = Claims::new(shop.account.public_key(), metadata, epoch_seconds());
        Ok(claims.sign(issuer)?)
    };
    fs::write(shop.path("shop.jwt"), token(&operator)?)?;
    // A token that nobody trusted has signed, in the same folder.
    let mut own = Claims::new(shop.stranger.public_key(), SignerMetadata::default(), 1);
    fs::write(shop.path("stranger.jwt"), own.sign(&shop.stranger)?)?;
    let folder = shop.folder.path().display().to_string();
    let key = operator.public_key();
    let lattice = host(&["--trusted-issuer", &key, "--account-token", &folder]).await?;
    for (id, issuer) in [("account", &shop.account), ("helper", &helper)] {
        let reference = shop.file(&format!("{id}.wasm"), &signed(issuer, now())?)?;
        let event = start_component(&lattice, id, &reference).await?;
        ensure!(event.name == "component_scaled", "{id}: {}", event.body);
        ensure!(event.body["data"]["claims"]["issuer"] == issuer.public_key().as_str());
    }
    let reference = shop.file("stranger.wasm", &signed(&shop.stranger, now())?)?;
    let event = start_component(&lattice, "stranger", &reference).await?;
    refused(&event, "issuer-not-trusted", "no trusted issuer")
}

#[tokio::test]
async fn what_runs_goes_on_when_its_token_expires_and_is_not_started_again() -> Result<()> {
    let shop = Workshop::new()?;
    let lattice = host(&[]).await?;
    // A slow machine takes its time to start it, so the next try gets more.
    let mut started = None;
    for seconds in [4, 15, 60] {
        let bytes = signed(&shop.account, times(Some(seconds), None))?;
        let reference = shop.file("short.wasm", &bytes)?;
        let event = start_component(&lattice, "short", &reference).await?;
        if event.name == "component_scaled" {
            started = Some(reference);
            break;
        }
        refused(&event, "claims-invalid", "token expired")?;
    }
    let reference = started.context("it never started")?;
    let shown = lattice.inventory(0).await?["components"][0].clone();
    ensure!(
        shown["version"] == "1.2.3" && shown["revision"] == 7,
        "{shown}"
    );
    let expired = |event: &Event| event.name == "claims_expired" && event.data("id") == "short";
    let told = lattice.events.wait(expired, 3 * STEP).await?;
    ensure!(
        told.body["data"]["expired_at"] == shown["expires"],
        "{}",
        told.body
    );
    let peer = lattice.peer().await?;
    echo(&peer, "short").await?;
    // With other limits the code is prepared anew, which would be a start.
    let mark = lattice.events.len();
    let command = json!({
        "component_ref": reference, "component_id": "short", "count": 1,
        "host_id": lattice.host(0), "component_limits": { "max_memory_limit": "50000000" },
    });
    let operation = format!("component.scale.{}", lattice.host(0));
    lattice.ctl_ok(&operation, command).await?;
    let failed = |event: &Event| event.name == "component_scale_failed";
    let event = lattice.events.wait_after(mark, failed, STEP).await?;
    refused(&event, "claims-invalid", "token expired")?;
    let answer = call(&peer, "short", ECHO, text("on"), 5_000).await?;
    ensure!(answer == text("on"), "another echo: {answer:?}");
    Ok(())
}

#[tokio::test]
async fn claims_with_their_expiry_are_told_to_who_asks() -> Result<()> {
    let shop = Workshop::new()?;
    let mut lattice = Lattice::start(0).await?;
    let options = HostOptions {
        environment: vec![("LATTICE_REQUIRE_SIGNED".into(), "true".into())],
        labels: BTreeMap::new(),
        ..HostOptions::default()
    };
    lattice.add_host(options).await?;
    let bytes = signed(&shop.account, times(Some(DAY), None))?;
    let reference = shop.file("told.wasm", &bytes)?;
    let event = start_component(&lattice, "told", &reference).await?;
    ensure!(event.name == "component_scaled", "{}", event.body);
    let claims = until(async || {
        let reply = lattice.ctl_ok("claims.get", Value::Null).await?;
        let claims = reply["response"][0].clone();
        ensure!(
            claims["issuer"] == shop.account.public_key().as_str(),
            "{reply}"
        );
        Ok(claims)
    })
    .await?;
    let seconds = claims["expires"]
        .as_str()
        .unwrap_or_default()
        .parse::<u64>();
    ensure!(seconds? > epoch_seconds(), "{claims}");
    ensure!(
        claims["revision"] == "7" && claims["version"] == "1.2.3",
        "{claims}"
    );
    Ok(())
}
