//! Everything that somebody who looks could see.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use lattice_integration::Lattice;
use parking_lot::Mutex;
use serde_json::Value;

use crate::scene::Scene;

/// A message, as it was on the bus.
type Seen = (String, Vec<u8>);

/// Hears all messages of the account.
pub(crate) struct Spy {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Spy {
    pub(crate) async fn start(lattice: &Lattice) -> Result<Self> {
        let client = lattice.nats.client().await?;
        #[expect(clippy::disallowed_methods, reason = "listens as a spy would")]
        let mut messages = client.subscribe(">").await?;
        lattice_nats_box::taken_in(&client).await?;
        let seen = Arc::default();
        let spy = Self {
            seen: Arc::clone(&seen),
        };
        // Ends with the connection, which the server of the test ends.
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let mut bytes = message.payload.to_vec();
                for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
                    bytes.extend_from_slice(format!("{name}={values:?};").as_bytes());
                }
                seen.lock().push((message.subject.to_string(), bytes));
            }
        });
        Ok(spy)
    }
}

fn shows(bytes: &[u8], secret: &str) -> bool {
    // What is not text stays apart, and a value is text.
    let text = String::from_utf8_lossy(bytes);
    // As numbers, the form that bytes have in JSON.
    let numbers = secret.bytes().take(8).map(|byte| byte.to_string());
    let numbers = numbers.collect::<Vec<_>>().join(",");
    text.contains(secret)
        || text.contains(&numbers)
        || encoded(secret).any(|code| text.contains(&code))
}

/// What of a text stands in Base64 of it, whatever is before it, and in hexadecimal numbers.
fn encoded(secret: &str) -> impl Iterator<Item = String> {
    let base64 = (0..3).map(move |before| {
        let whole = [" ".repeat(before).as_str(), secret].concat();
        let code = STANDARD.encode(whole);
        // The first and the last letters are of what is beside it as well.
        code[4..code.len() - 4].to_owned()
    });
    let hex = secret.bytes().map(|byte| format!("{byte:02x}"));
    base64.chain([hex.collect()])
}

fn hidden(what: &str, bytes: &[u8], secret: &str) -> Result<()> {
    ensure!(!shows(bytes, secret), "{what} shows the secret");
    Ok(())
}

/// Makes sure that a value is nowhere to be seen.
pub(crate) async fn assert_hidden(
    scene: &Scene,
    spy: &Spy,
    provider: u32,
    secret: &str,
) -> Result<()> {
    let lattice = &scene.lattice;
    let log = lattice.hosts[0].log();
    ensure!(log.contains("TRACE"), "the log is not that of all levels");
    hidden("the log of host and provider", log.as_bytes(), secret)?;
    let of_backend = scene.backend_log()?;
    ensure!(
        of_backend.contains("gave a secret"),
        "no log of the backend"
    );
    hidden("the log of the backend", of_backend.as_bytes(), secret)?;
    for event in lattice.events.all() {
        let text = event.body.to_string();
        hidden(
            &format!("the event {}", event.name),
            text.as_bytes(),
            secret,
        )?;
    }
    for (operation, body) in [
        (format!("host.get.{}", lattice.host(0)), Value::Null),
        ("link.get".to_owned(), Value::Null),
        ("claims.get".to_owned(), Value::Null),
        ("config.get.SECRET_URL".to_owned(), Value::Null),
    ] {
        let reply = lattice.ctl(&operation, body).await?.to_string();
        hidden(&operation, reply.as_bytes(), secret)?;
    }
    let host = lattice.hosts[0].pid().context("the host has ended")?;
    for pid in [host, provider, scene.backend_pid()?] {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{file}");
            match std::fs::read(&path) {
                Ok(bytes) => hidden(&path, &bytes, secret)?,
                // Its memory is hidden, and with it what it was started with.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error).context(path),
            }
        }
    }
    let seen = spy.seen.lock();
    ensure!(seen.len() > 100, "only {} messages were heard", seen.len());
    let sealed = |(subject, _): &&Seen| subject.ends_with(".linkdefs.put");
    ensure!(seen.iter().filter(sealed).count() > 0, "no link was heard");
    for (subject, bytes) in seen.iter() {
        hidden(&format!("a message on {subject}"), bytes, secret)?;
    }
    Ok(())
}
