//! The NATS credentials of provider processes: users of their own that reach as far as their links.
//!
//! Where the operator has given the host a key that signs for its account, each process gets the
//! token of a user of its own, which lasts for a while. It is replaced before it ends and whenever
//! the links of the provider change: a message, sealed for the process, brings the new one, and the
//! process says when it is connected with it. What a new link needs is granted before the process
//! is told of the link, and what a link needed is taken back after it has been told of its end.

use std::sync::Arc;
use std::time::Duration;

use lattice_claims::nats::{NatsTokenError, Permissions, User, user_token};
use lattice_claims::{CurveKey, KeyKind, SigningKey, epoch_seconds};
use lattice_core::provider::{BusData, HostData, NewCredentials, SecretText};
use lattice_core::subject::{ProviderRights, RpcPrefix};
use lattice_core::{Backoff, ComponentId, LatticeName, Link};
use lattice_nats::connection::without_login;
use tokio::time::{Instant, sleep_until};

use crate::config::ProviderSigner;

/// An annotation of a provider that was made for 1.x hosts: it gets credentials that last, since it
/// cannot be told of new ones, and that reach every entity of the lattice.
pub(crate) const LEGACY: &str = "lattice/legacy-credentials";

/// How long the credentials of a provider of the 1.x generation last; it is started again then.
const LEGACY_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often the clock on the wall is looked at: it goes on while a machine sleeps, and the end of a
/// token with it.
const LOOK: Duration = Duration::from_secs(10);
/// The pauses before a process is told again that did not take its credentials.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(2);
/// What a process says in the line with its token besides: who it is called, its signature and key,
/// and what its client can do, with room for clients in other languages.
const BESIDES_TOKEN: usize = 768;

/// Why a link is not told to a process whose token has no room for it.
pub(crate) const NO_ROOM: &str = "the NATS server would refuse the credentials of the provider with the \
    rights for one more link: its token would be longer than the line that the server reads; raise \
    `max_control_line` of the server and `--nats-max-control-line` of the host, or spread the links over \
    several providers";

/// The order in which links are given room: by what all hosts know of them and what stays, so that the
/// same ones work on every host and after each start.
fn place(link: &Link) -> [&str; 5] {
    [
        &link.source_id,
        &link.target,
        &link.wit_namespace,
        &link.wit_package,
        &link.name,
    ]
}

/// The user that one provider process connects as.
#[derive(Debug)]
pub(crate) struct Credentials {
    signer: Arc<ProviderSigner>,
    lattice: LatticeName,
    provider: ComponentId,
    xkey: String,
    user: SigningKey,
    legacy: bool,
    /// What the process holds.
    held: ProviderRights,
    /// Counts the tokens, so that an old one is not taken for a new one.
    serial: u64,
    expires: Deadline,
    /// When the next token is due.
    due: Deadline,
    backoff: Backoff,
    /// Since when the process takes no others, though its links need it.
    untaken: Option<Instant>,
}

/// A time by both clocks; the earlier one counts.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    steady: Instant,
    /// In epoch seconds.
    wall: u64,
}

impl Deadline {
    fn after(pause: Duration) -> Self {
        Self {
            steady: Instant::now() + pause,
            wall: epoch_seconds().saturating_add(pause.as_secs().max(1)),
        }
    }

    fn has_come(self, now: u64) -> bool {
        now >= self.wall || Instant::now() >= self.steady
    }

    async fn wait(self, wall: impl Fn() -> u64) {
        while !self.has_come(wall()) {
            sleep_until(self.steady.min(Instant::now() + LOOK)).await;
        }
    }
}

impl Credentials {
    pub(crate) fn new(
        signer: Arc<ProviderSigner>,
        lattice: LatticeName,
        provider: ComponentId,
        xkey: String,
        legacy: bool,
    ) -> Self {
        let now = Deadline::after(Duration::ZERO);
        Self {
            signer,
            lattice,
            provider,
            xkey,
            user: SigningKey::generate(KeyKind::User),
            legacy,
            held: ProviderRights::default(),
            serial: 0,
            expires: now,
            due: now,
            backoff: Backoff::exact(FIRST_RETRY, LONGEST_RETRY),
            untaken: None,
        }
    }

    /// The public key of the user.
    pub(crate) fn user(&self) -> String {
        self.user.public_key()
    }

    /// Fills in who a new process connects as, with these rights.
    pub(crate) fn give(
        &mut self,
        rights: ProviderRights,
        data: HostData,
    ) -> Result<HostData, NatsTokenError> {
        let new = self.make(&rights)?;
        self.took(rights);
        let own = RpcPrefix::new(&self.lattice, &self.provider);
        let bus = data.lattice_bus.unwrap_or_default();
        // Who the host connects as is nothing to a process that is somebody itself.
        let bare = |address: &SecretText| SecretText::new(without_login(address.expose()));
        Ok(HostData {
            lattice_rpc_user_jwt: new.jwt,
            lattice_rpc_user_seed: new.seed,
            lattice_rpc_url: bare(&data.lattice_rpc_url),
            lattice_bus: Some(BusData {
                servers: bus.servers.iter().map(bare).collect(),
                tls: bus.tls,
                scoped: true,
                inbox: (!self.legacy).then(|| own.inbox_of(&self.xkey)),
                ..BusData::default()
            }),
            ..data
        })
    }

    /// What these links need.
    pub(crate) fn wanted(&self, links: &[Link]) -> ProviderRights {
        let (lattice, provider, xkey) = (&self.lattice, &self.provider, &self.xkey);
        if self.legacy {
            ProviderRights::legacy(lattice, provider, xkey)
        } else {
            ProviderRights::new(lattice, provider, xkey, links)
        }
    }

    /// Takes the links away that a token has no room for, and returns these: the last ones in order.
    /// Links do not tell when they were put, and what a host remembers of that another does not know.
    pub(crate) fn make_room(&self, links: &mut Vec<Link>) -> Vec<Link> {
        if self.fits(&self.wanted(links)) {
            return Vec::new();
        }
        links.sort_by(|one, other| place(one).cmp(&place(other)));
        // Each further link makes it longer.
        let (mut fit, mut too_many) = (0, links.len());
        while fit + 1 < too_many {
            let half = usize::midpoint(fit, too_many);
            match self.fits(&self.wanted(&links[..half])) {
                true => fit = half,
                false => too_many = half,
            }
        }
        links.split_off(fit)
    }

    /// Whether a server reads the line in which a process says a token with these rights.
    pub(crate) fn fits(&self, rights: &ProviderRights) -> bool {
        let besides = BESIDES_TOKEN + self.provider.as_str().len();
        match self.token(rights) {
            Ok(token) => token.len() + besides <= self.signer.longest_line,
            Err(NatsTokenError::TooLong { .. }) => false,
            // What cannot be made at all is told where it is made.
            Err(_) => true,
        }
    }

    /// What the process holds.
    pub(crate) fn held(&self) -> &ProviderRights {
        &self.held
    }

    /// A new token with these rights; it counts once [`Credentials::took`] is called.
    pub(crate) fn make(
        &mut self,
        rights: &ProviderRights,
    ) -> Result<NewCredentials, NatsTokenError> {
        let jwt = self.token(rights)?.into();
        self.serial += 1;
        Ok(NewCredentials {
            serial: self.serial,
            jwt,
            seed: self.user.seed(),
        })
    }

    fn token(&self, rights: &ProviderRights) -> Result<String, NatsTokenError> {
        let life = if self.legacy {
            LEGACY_LIFE
        } else {
            self.signer.life
        };
        let list = |subjects: &std::collections::BTreeSet<String>| {
            Some(subjects.iter().cloned().collect::<Vec<_>>())
        };
        let user = User {
            name: self.provider.as_str().to_owned(),
            key: self.user.public_key(),
            account: self.signer.account.clone(),
            expires: Some(epoch_seconds() + life.as_secs().max(1)),
            permissions: Permissions {
                publish: list(&rights.publish),
                subscribe: list(&rights.subscribe),
            },
        };
        user_token(&user, &self.signer.key)
    }

    /// The process has the latest token.
    pub(crate) fn took(&mut self, rights: ProviderRights) {
        let life = if self.legacy {
            LEGACY_LIFE
        } else {
            self.signer.life
        };
        self.held = rights;
        self.expires = Deadline::after(life);
        self.due = if self.legacy {
            self.expires
        } else {
            Deadline::after(life * 2 / 3)
        };
        self.backoff.reset();
        self.untaken = None;
    }

    /// The process did not take the latest token with these rights, and is told again after a pause.
    pub(crate) fn failed(&mut self, rights: &ProviderRights) {
        self.due = Deadline::after(self.backoff.delay());
        if *rights != self.held {
            self.untaken.get_or_insert_with(Instant::now);
        }
    }

    /// That the process did not take its token is not its fault.
    pub(crate) fn excuse(&mut self) {
        self.untaken = None;
    }

    /// Whether the process has gone without the rights of its links for too long, or with rights that
    /// it should have no longer.
    pub(crate) fn is_overdue(&self) -> bool {
        self.untaken
            .is_some_and(|since| since.elapsed() >= self.signer.patience)
    }

    /// The process should get a token after this time, if not before.
    pub(crate) fn due_in(&mut self, pause: Duration) {
        self.due.steady = self.due.steady.min(Instant::now() + pause);
    }

    /// Whether the token of the process has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.expires.has_come(epoch_seconds())
    }

    /// Waits until the next token is due.
    pub(crate) async fn due(this: Option<&Self>) {
        match this {
            Some(this) => this.due.wait(epoch_seconds).await,
            None => std::future::pending().await,
        }
    }

    /// Seals a token for the process.
    pub(crate) fn seal(
        new: &NewCredentials,
        host: &CurveKey,
        process: &CurveKey,
    ) -> Option<Vec<u8>> {
        let text = serde_json::to_vec(new).ok()?;
        host.seal(&text, process)
            .inspect_err(|error| tracing::error!(%error, "could not seal credentials"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn credentials() -> Credentials {
        let signer = ProviderSigner {
            key: Arc::new(SigningKey::generate(KeyKind::Account)),
            account: None,
            life: Duration::from_secs(3600),
            patience: ProviderSigner::PATIENCE,
            longest_line: ProviderSigner::LONGEST_LINE,
        };
        let id = ComponentId::new("kv").unwrap();
        let xkey = CurveKey::generate().public_key();
        let lattice = LatticeName::default();
        let mut made = Credentials::new(Arc::new(signer), lattice, id, xkey, false);
        made.took(made.wanted(&[]));
        made
    }

    fn link(source: usize) -> Link {
        serde_json::from_value(serde_json::json!({
            "source_id": format!("shop-component-{source:03}"), "target": "kv",
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"],
        }))
        .unwrap()
    }

    #[test]
    fn who_has_credentials_of_its_own_is_not_told_those_of_the_host() {
        let mut made = credentials();
        let data = HostData {
            lattice_rpc_url: SecretText::new("nats://me:hidden-word@a:1"),
            lattice_rpc_user_seed: SecretText::new("SU-hidden-word"),
            lattice_bus: Some(BusData {
                servers: vec![
                    SecretText::new("me:hidden-word@a:1"),
                    SecretText::new("b:2"),
                ],
                token: SecretText::new("hidden-word"),
                creds_file: Some("hidden-word.creds".to_owned()),
                ..BusData::default()
            }),
            ..HostData::default()
        };
        let data = made.give(made.wanted(&[]), data).unwrap();
        let line = serde_json::to_string(&data).unwrap();
        assert!(!line.contains("hidden-word"), "{line}");
        assert_eq!(data.lattice_rpc_url.expose(), "nats://a:1");
        assert_eq!(data.lattice_bus.unwrap().servers.len(), 2);
    }

    #[test]
    fn no_token_is_longer_than_the_server_reads_and_the_same_links_wait_on_every_host() {
        let made = credentials();
        let mut links: Vec<_> = (100..200).map(link).collect();
        let left_out = made.make_room(&mut links);
        assert!(links.len() > 10 && !left_out.is_empty(), "{}", links.len());
        let token = made.token(&made.wanted(&links)).unwrap();
        assert!(token.len() + BESIDES_TOKEN < ProviderSigner::LONGEST_LINE);
        // Whoever has heard of them in another order leaves out the same ones.
        let mut heard: Vec<_> = (100..200).rev().map(link).collect();
        let another = credentials();
        assert_eq!(another.make_room(&mut heard), left_out);
        assert_eq!(heard, links);
        // One that comes before them in order takes the place of the last.
        let last = links.pop().unwrap();
        let mut more: Vec<_> = (100..200).chain([1]).map(link).collect();
        let waiting = made.make_room(&mut more);
        assert_eq!((&waiting[0], &waiting[1..]), (&last, &*left_out));
        // When one goes there is room again.
        more.pop();
        more.push(last);
        assert!(made.make_room(&mut more).is_empty());
    }

    #[test]
    fn a_hundred_links_have_room_in_a_line_as_secure_lattices_read_it() {
        let mut made = credentials();
        let mut signer = Arc::try_unwrap(made.signer).unwrap();
        signer.longest_line = 64 * 1024;
        made.signer = Arc::new(signer);
        assert!(made.make_room(&mut (0..100).map(link).collect()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_sleep_of_the_machine_a_token_is_due_by_the_clock_on_the_wall() {
        let wall = AtomicU64::new(1_000);
        let due = Deadline {
            steady: Instant::now() + Duration::from_secs(2400),
            wall: 3_400,
        };
        let begun = Instant::now();
        let waiting = due.wait(|| wall.load(Ordering::Relaxed));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        // The steady clock stood still meanwhile.
        wall.store(5_000, Ordering::Relaxed);
        waiting.await;
        assert!(begun.elapsed() <= LOOK);
        assert!(due.has_come(3_400) && !due.has_come(3_399));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_holds_nothing_up() {
        let due = Deadline::after(Duration::from_secs(30));
        let begun = Instant::now();
        due.wait(|| 0).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_other_rights_is_borne_with_for_a_minute() {
        let mut made = credentials();
        let (same, other) = (made.held().clone(), ProviderRights::default());
        // To have its token renewed alone is not urgent.
        made.failed(&same);
        tokio::time::advance(ProviderSigner::PATIENCE).await;
        assert!(!made.is_overdue());
        made.failed(&other);
        tokio::time::advance(ProviderSigner::PATIENCE / 2).await;
        made.failed(&other);
        assert!(!made.is_overdue());
        tokio::time::advance(ProviderSigner::PATIENCE / 2).await;
        assert!(made.is_overdue());
        made.excuse();
        assert!(!made.is_overdue());
        made.failed(&other);
        tokio::time::advance(ProviderSigner::PATIENCE).await;
        made.took(other);
        assert!(!made.is_overdue());
    }
}
