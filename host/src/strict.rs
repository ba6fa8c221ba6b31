//! Whether the hosts of a lattice agree on who is let in.
//!
//! `--allow-legacy-peers` is a flag of each host. One that is started without it in a lattice whose other hosts
//! are strict lets in calls that prove nothing, and nobody would notice. So a strict host says in its heartbeats
//! that it is one, with a token of its cluster, and a host that lets in legacy peers and trusts that cluster
//! tells of the difference. It does no more than that: nothing on the bus makes a host strict, or lax.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::peer::{CLOCK_SKEW, MAX_PEER_TOKEN_BYTES};
use lattice_claims::token::verify;
use lattice_claims::{Claims, PublicKey, SigningKey, TokenError, epoch_seconds};
use lattice_control::{Client, EventStream};
use lattice_core::Backoff;
use lattice_core::event::{Event, EventKind, HostNotStrict};
use lattice_core::host::HostInventory;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::HostConfig;
use crate::events::Events;

/// How long a proof holds. Each heartbeat has a new one.
const LIFETIME: Duration = Duration::from_secs(3600);
/// How long it is until the same is told again.
const AGAIN: Duration = Duration::from_secs(600);

/// The pauses after a subscription that failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What the token of a strict host says, besides which host that is.
#[derive(Debug, Serialize, Deserialize)]
struct Strictness {
    /// The lattice in which it lets in no legacy peer.
    strict_lattice: String,
}

/// Shows that a host is strict.
#[derive(Debug)]
pub(crate) struct StrictProof {
    cluster: Arc<SigningKey>,
    host: String,
    lattice: String,
}

impl StrictProof {
    /// That of a strict host; `None` for any other.
    pub(crate) fn of(config: &HostConfig) -> Option<Self> {
        if config.allow_legacy_peers {
            return None;
        }
        Some(Self {
            cluster: config.cluster.key.clone()?,
            host: config.key.public_key(),
            lattice: config.lattice.as_str().to_owned(),
        })
    }

    /// What goes into the next heartbeat.
    pub(crate) fn token(&self) -> Option<String> {
        let token = self.token_of(epoch_seconds());
        let told = |error: &TokenError| tracing::debug!(%error, "cannot sign that it is strict");
        token.inspect_err(told).ok()
    }

    fn token_of(&self, now: u64) -> Result<String, TokenError> {
        let said = Strictness {
            strict_lattice: self.lattice.clone(),
        };
        let mut claims = Claims::new(self.host.clone(), said, now);
        claims.expires = Some(now.saturating_add(LIFETIME.as_secs()));
        claims.revision = None;
        claims.sign(&self.cluster)
    }
}

/// The host that proves to be strict in `lattice`, if a trusted cluster has signed it.
fn proven(token: &str, lattice: &str, trusted: &[PublicKey], now: u64) -> Option<String> {
    if token.len() > MAX_PEER_TOKEN_BYTES {
        return None;
    }
    // Who signs may be ahead or behind.
    let now = now.saturating_sub(CLOCK_SKEW.as_secs());
    let claims: Claims<Strictness> = verify(token, now).ok()?;
    let is_trusted = trusted.iter().any(|key| key.as_text() == claims.issuer);
    let said = claims.metadata?;
    let holds = is_trusted && said.strict_lattice == lattice && claims.expires.is_some();
    holds.then_some(claims.subject)
}

/// A host that lets in legacy peers.
#[derive(Debug)]
struct Lax {
    host: String,
    lattice: String,
    trusted: Vec<PublicKey>,
    /// When it was last told that another host is strict.
    told: Option<Instant>,
}

impl Lax {
    /// What is to be told after a heartbeat.
    fn hear(&mut self, heartbeat: &HostInventory) -> Option<HostNotStrict> {
        let now = Instant::now();
        // First of all, so that a flood of them costs little.
        if self.told.is_some_and(|told| now < told + AGAIN) {
            return None;
        }
        let token = heartbeat.strict_proof.as_deref()?;
        let strict_host_id = proven(token, &self.lattice, &self.trusted, epoch_seconds())?;
        self.told = Some(now);
        Some(HostNotStrict {
            host_id: self.host.clone(),
            strict_host_id,
        })
    }
}

/// Listens for strict hosts, until what this returns is dropped. A host that is strict itself, or trusts no
/// cluster, has nothing to tell.
pub(crate) fn follow(
    config: &HostConfig,
    client: Client,
    events: Arc<Events>,
) -> Option<AbortOnDropHandle<()>> {
    let trusted = config.cluster.trusted();
    if !config.allow_legacy_peers || trusted.is_empty() {
        return None;
    }
    let lax = Lax {
        host: config.key.public_key(),
        lattice: config.lattice.as_str().to_owned(),
        trusted,
        told: None,
    };
    let listening = tokio::spawn(listen(client, lax, events));
    Some(AbortOnDropHandle::new(listening))
}

async fn listen(client: Client, mut lax: Lax, events: Arc<Events>) {
    let mut heartbeats = heartbeats(&client).await;
    while let Some(event) = heartbeats.next().await {
        if let Event::HostHeartbeat(heartbeat) = &event.event
            && let Some(report) = lax.hear(heartbeat)
        {
            tracing::warn!(
                strict_host = report.strict_host_id,
                "this host lets in calls without proof, and another host of its cluster in this lattice does \
                 not; start it with `--allow-legacy-peers=false` once no peer of 1.x is left"
            );
            events.publish(Event::HostNotStrict(report));
        }
    }
}

async fn heartbeats(client: &Client) -> EventStream {
    let mut backoff = Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let pause = backoff.delay();
        match client.events(&[EventKind::HostHeartbeat]).await {
            Ok(heartbeats) => return heartbeats,
            Err(error) => {
                tracing::warn!(%error, "does not hear of strict hosts; tries again in {pause:?}");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use lattice_claims::KeyKind;

    const STRICT: &str = "NSTRICT";

    fn proof(cluster: &Arc<SigningKey>, lattice: &str) -> StrictProof {
        StrictProof {
            cluster: Arc::clone(cluster),
            host: STRICT.to_owned(),
            lattice: lattice.to_owned(),
        }
    }

    fn cluster() -> Arc<SigningKey> {
        Arc::new(SigningKey::generate(KeyKind::Cluster))
    }

    /// A lax host that trusts a cluster.
    fn lax(cluster: &SigningKey) -> Lax {
        Lax {
            host: "NLAX".to_owned(),
            lattice: "default".to_owned(),
            trusted: vec![PublicKey::parse(&cluster.public_key()).unwrap()],
            told: None,
        }
    }

    fn heartbeat(strict_proof: Option<String>) -> HostInventory {
        HostInventory {
            strict: true,
            strict_proof,
            ..HostInventory::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_another_host_is_strict_is_told_now_and_then() {
        let cluster = cluster();
        let mut lax = lax(&cluster);
        let heard = heartbeat(proof(&cluster, "default").token());
        let report = lax.hear(&heard).unwrap();
        assert_eq!(
            (&*report.host_id, &*report.strict_host_id),
            ("NLAX", STRICT)
        );
        assert_eq!(lax.hear(&heard), None);
        tokio::time::advance(AGAIN).await;
        assert_eq!(lax.hear(&heard), Some(report));
    }

    #[tokio::test]
    async fn what_no_trusted_cluster_says_of_this_lattice_now_is_not_believed() {
        let own = cluster();
        let mut lax = lax(&own);
        let of = |cluster, lattice| proof(cluster, lattice).token();
        let long_ago = epoch_seconds() - 2 * LIFETIME.as_secs();
        let mut changed = of(&own, "default").unwrap();
        changed.pop();
        for said in [
            None,
            Some("no token".to_owned()),
            Some("x".repeat(MAX_PEER_TOKEN_BYTES + 1)),
            Some(changed),
            of(&cluster(), "default"),
            of(&own, "other"),
            proof(&own, "default").token_of(long_ago).ok(),
        ] {
            let heard = heartbeat(said);
            assert_eq!(lax.hear(&heard), None, "{heard:?}");
        }
    }
}
