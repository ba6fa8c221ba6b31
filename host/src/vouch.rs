//! What this host, and the providers that it starts, prove to others who they are with.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::peer::{sign_host, sign_provider};
use lattice_claims::{CurveKey, PublicKey, SigningKey, TokenError, epoch_seconds};
use lattice_core::event::CallRefused;
use lattice_core::identity::{PeerTokens, ProviderIdentity};
use lattice_core::provider::SecretText;
use lattice_rpc::{Auth, AuthSettings, Links};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::config::HostConfig;

/// How long a token holds, and how often there is a new one. Three may be lost.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const RENEWED: Duration = Duration::from_secs(6 * 3600);
/// How often the clock on the wall is looked at, by which tokens expire: it goes on while a machine sleeps,
/// and may be set.
const LOOK: Duration = Duration::from_secs(10);

/// Who signs, and for whom.
#[derive(Debug)]
struct Signer {
    host: Arc<SigningKey>,
    /// The cluster that the host belongs to.
    cluster: Option<Arc<SigningKey>>,
    lattice: String,
    /// The curve key of the host itself.
    session_key: CurveKey,
}

impl Signer {
    /// The host's own token: of its cluster, else of itself.
    fn host(&self) -> Result<String, TokenError> {
        let signer = self.cluster.as_ref().unwrap_or(&self.host);
        let valid = (epoch_seconds(), LIFETIME);
        let host = self.host.public_key();
        sign_host(signer, &host, &self.lattice, &self.session_key, valid)
    }
}

/// Vouches for the providers of a host, and keeps what vouches for the host itself from expiring.
#[derive(Debug)]
pub(crate) struct Voucher {
    signer: Arc<Signer>,
    trusted: Vec<String>,
    strict: bool,
    confined: bool,
    token: watch::Receiver<String>,
    _renewing: AbortOnDropHandle<()>,
}

/// One life of a provider, as far as others are to know it.
#[derive(Debug)]
pub(crate) struct Vouched {
    id: String,
    instance: String,
    session_key: CurveKey,
}

impl Voucher {
    /// Signs the host's own token, and gives what its calls prove with who makes them. Refused calls
    /// go to `reports`. Where providers are confined to their links, `links` says what those are.
    pub(crate) fn start(
        config: &HostConfig,
        links: Arc<dyn Links>,
        reports: mpsc::Sender<CallRefused>,
    ) -> Result<(Self, Auth), TokenError> {
        let trusted = config.cluster.trusted();
        let strict = !config.allow_legacy_peers;
        let confined = strict || config.provider_signer.is_some();
        let signer = Signer {
            host: Arc::clone(&config.key),
            cluster: config.cluster.key.clone(),
            lattice: config.lattice.as_str().to_owned(),
            session_key: CurveKey::generate(),
        };
        let signed = epoch_seconds();
        let host = signer.host()?;
        let (told, token) = watch::channel(host.clone());
        let auth = Auth::new(AuthSettings {
            lattice: signer.lattice.clone(),
            key: signer.session_key.clone(),
            tokens: PeerTokens {
                host,
                provider: None,
            },
            trusted: trusted.clone(),
            strict,
            confined,
            links: confined.then_some(links),
            reports: Some(reports),
        });
        let signer = Arc::new(signer);
        let renewing = tokio::spawn(renew(Arc::clone(&signer), auth.clone(), told, signed));
        let voucher = Self {
            signer,
            trusted: trusted.iter().map(PublicKey::as_text).collect(),
            strict,
            confined,
            token,
            _renewing: AbortOnDropHandle::new(renewing),
        };
        Ok((voucher, auth))
    }

    /// Begins to vouch for one life of the provider `id`.
    pub(crate) fn begin(&self, id: &str, instance: &str) -> Vouched {
        Vouched {
            id: id.to_owned(),
            instance: instance.to_owned(),
            session_key: CurveKey::generate(),
        }
    }

    /// What that provider shows to others, as of now.
    pub(crate) fn tokens(&self, vouched: &Vouched) -> Result<PeerTokens, TokenError> {
        let provider = sign_provider(
            &self.signer.host,
            &vouched.id,
            &vouched.instance,
            &self.signer.lattice,
            &vouched.session_key,
            (epoch_seconds(), LIFETIME),
        )?;
        Ok(PeerTokens {
            host: self.token.borrow().clone(),
            provider: Some(provider),
        })
    }

    /// What the process is given, with a ticket for the host's socket.
    pub(crate) fn identity(&self, vouched: &Vouched) -> Result<ProviderIdentity, TokenError> {
        Ok(ProviderIdentity {
            tokens: self.tokens(vouched)?,
            session_seed: vouched.session_key.seed(),
            trusted: self.trusted.clone(),
            strict: self.strict,
            confined: self.confined,
            // As hard to guess as a key.
            ticket: SecretText::new(
                SigningKey::generate(lattice_claims::KeyKind::User).public_key(),
            ),
        })
    }

    /// Tells when providers have to be given new tokens.
    pub(crate) fn renewals(&self) -> watch::Receiver<String> {
        self.token.clone()
    }
}

async fn renew(signer: Arc<Signer>, auth: Auth, told: watch::Sender<String>, mut signed: u64) {
    loop {
        due(signed, epoch_seconds).await;
        signed = epoch_seconds();
        match signer.host() {
            Ok(host) => {
                let tokens = PeerTokens {
                    host: host.clone(),
                    provider: None,
                };
                if auth.renew(tokens) {
                    told.send_replace(host);
                } else {
                    tracing::error!("what proves who this host is does not hold: check its clock");
                }
            }
            Err(error) => tracing::error!(%error, "could not renew what proves who this host is"),
        }
    }
}

/// Waits until the token that was signed at `signed`, just now, is to be replaced: by the clock that comes
/// first, and at once when that on the wall was set back before it.
async fn due(signed: u64, wall: impl Fn() -> u64) {
    let steady = Instant::now() + RENEWED;
    let is_old = |now: u64| {
        let age = now.checked_sub(signed);
        age.is_none_or(|age| age >= RENEWED.as_secs())
    };
    while !is_old(wall()) && Instant::now() < steady {
        sleep_until(steady.min(Instant::now() + LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_soon_after_the_machine_slept_or_its_clock_was_set() {
        const SIGNED: u64 = 1_000_000;
        for later in [SIGNED + RENEWED.as_secs(), SIGNED + 48 * 3600, SIGNED - 1] {
            let wall = AtomicU64::new(SIGNED);
            let begun = Instant::now();
            let waiting = due(SIGNED, || wall.load(Ordering::Relaxed));
            tokio::pin!(waiting);
            assert!(futures::poll!(&mut waiting).is_pending());
            // The steady clock stood still meanwhile.
            wall.store(later, Ordering::Relaxed);
            waiting.await;
            assert!(begun.elapsed() <= LOOK, "{later}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_in_time_by_a_clock_that_stands_still() {
        let begun = Instant::now();
        due(1_000, || 1_000).await;
        let took = begun.elapsed();
        assert!(took >= RENEWED && took < RENEWED + LOOK, "{took:?}");
    }
}
