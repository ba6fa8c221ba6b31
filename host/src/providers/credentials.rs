//! The NATS credentials of provider processes: users of their own that reach as far as their links.
//!
//! Where the operator has given the host a key that signs for its account, each process gets the
//! token of a user of its own, which lasts for a while. It is replaced before it ends and whenever
//! the links of the provider change: a message, sealed for the process, brings the new one, and the
//! process says when it is connected with it. What a new link needs is granted before the process
//! is told of the link, and what a link needed is taken back after it has been told of its end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lattice_claims::nats::{NatsTokenError, Permissions, User, user_token};
use lattice_claims::{CurveKey, KeyKind, SigningKey, epoch_seconds};
use lattice_core::provider::{BusData, HostData, NewCredentials, SecretText};
use lattice_core::reply::message_chain;
use lattice_core::subject::{ProviderRights, RpcPrefix};
use lattice_core::{Backoff, ComponentId, LatticeName, Link};
use lattice_nats::connection::{Creds, without_login};
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
/// How long NATS has to be there before a process is ended whose token has ended: another could not
/// connect before.
const SETTLED: Duration = Duration::from_secs(3);
/// How often it is looked whether it is.
const SETTLING_LOOK: Duration = Duration::from_secs(1);
/// The time between two trials of another key in the file of the signer: each is a login, and one that is
/// refused stands in the log of the server.
const BETWEEN_KEYS: Duration = Duration::from_secs(30);
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
    /// What signs: the key of the signer, or the one that has taken its place in its file.
    key: Arc<SigningKey>,
    /// When another key in that file was tried last.
    tried: Option<Instant>,
    /// Whether it was told that the file cannot be used.
    told_of_file: bool,
    lattice: LatticeName,
    provider: ComponentId,
    xkey: String,
    user: SigningKey,
    legacy: bool,
    /// What the process holds.
    held: ProviderRights,
    /// With which token.
    holds: Option<SecretText>,
    /// Which token it may hold instead: it was told of it, and has not said that it uses it.
    heard_of: Option<SecretText>,
    /// What its links need no more, of which it has been told.
    unneeded: Unneeded,
    /// The latest token, until it counts.
    made: Option<(SecretText, Term)>,
    /// Counts the tokens, so that an old one is not taken for a new one.
    serial: u64,
    expires: Deadline,
    /// When the next token is due.
    due: Deadline,
    /// Since when NATS is there again, where the token has ended.
    there: Option<Instant>,
    backoff: Backoff,
    /// Since when the process takes no others, though its links need it.
    untaken: Option<Instant>,
}

/// From when on a token needs a successor, and when it ends.
#[derive(Debug, Clone, Copy)]
struct Term {
    due: Deadline,
    expires: Deadline,
}

/// Rights that no link needs, and since when.
#[derive(Debug, Default)]
struct Unneeded {
    publish: BTreeMap<String, Instant>,
    subscribe: BTreeMap<String, Instant>,
}

/// Notes which of the subjects held are not wanted.
fn note(noted: &mut BTreeMap<String, Instant>, held: &BTreeSet<String>, wanted: &BTreeSet<String>) {
    let now = Instant::now();
    noted.retain(|subject, _| held.contains(subject) && !wanted.contains(subject));
    for subject in held - wanted {
        noted.entry(subject).or_insert(now);
    }
}

/// The subjects held that are wanted, or were a moment ago.
fn recent(
    noted: &BTreeMap<String, Instant>,
    held: &BTreeSet<String>,
    wanted: &BTreeSet<String>,
    moment: Duration,
) -> BTreeSet<String> {
    let is_old = |subject: &String| {
        let since = noted.get(subject);
        since.is_some_and(|since| since.elapsed() >= moment)
    };
    let kept = held.iter();
    let kept = kept.filter(|&subject| wanted.contains(subject) || !is_old(subject));
    kept.cloned().collect()
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
            key: Arc::clone(&signer.key),
            tried: None,
            told_of_file: false,
            signer,
            lattice,
            provider,
            xkey,
            user: SigningKey::generate(KeyKind::User),
            legacy,
            held: ProviderRights::default(),
            holds: None,
            heard_of: None,
            unneeded: Unneeded::default(),
            made: None,
            serial: 0,
            expires: now,
            due: now,
            there: None,
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

    /// Notes what the process holds that its links do not need, once it has been told of them.
    pub(crate) fn note_unneeded(&mut self, wanted: &ProviderRights) {
        let (noted, held) = (&mut self.unneeded, &self.held);
        note(&mut noted.publish, &held.publish, &wanted.publish);
        note(&mut noted.subscribe, &held.subscribe, &wanted.subscribe);
    }

    /// What these rights are with those that the process holds, except what its links have not needed
    /// for longer than a moment.
    pub(crate) fn with_recent(&self, wanted: &ProviderRights, moment: Duration) -> ProviderRights {
        let (noted, held) = (&self.unneeded, &self.held);
        let kept = ProviderRights {
            publish: recent(&noted.publish, &held.publish, &wanted.publish, moment),
            subscribe: recent(&noted.subscribe, &held.subscribe, &wanted.subscribe, moment),
        };
        kept.with(wanted)
    }

    /// A new token with these rights; it counts once [`Credentials::took`] is called.
    pub(crate) fn make(
        &mut self,
        rights: &ProviderRights,
    ) -> Result<NewCredentials, NatsTokenError> {
        let life = self.life();
        let expires = Deadline::after(life);
        let due = match self.legacy {
            true => expires,
            false => Deadline::after(life * 2 / 3),
        };
        let jwt: SecretText = self.token(rights)?.into();
        self.made = Some((jwt.clone(), Term { due, expires }));
        self.serial += 1;
        Ok(NewCredentials {
            serial: self.serial,
            jwt,
            seed: self.user.seed(),
        })
    }

    /// Each token that the process may hold, and a new one, to see which of them the server lets in.
    pub(crate) fn to_try(&self) -> Option<(Vec<Creds>, Creds)> {
        let creds = |jwt: SecretText| Creds {
            jwt,
            seed: self.user.seed(),
        };
        let held = [self.holds.clone()?].into_iter();
        let held = held.chain(self.heard_of.clone());
        let new = self.token(&self.held).ok()?;
        Some((held.map(creds).collect(), creds(new.into())))
    }

    /// The key that stands in the file of the signer now, where it is another one, and what it signs: a
    /// signing key may be replaced. One that the server does not know would shut out every process, so that
    /// it signs only once [`Credentials::sign_with`] is called.
    pub(crate) fn key_to_try(&mut self) -> Option<(SigningKey, Creds)> {
        let key = self.key_in_file()?;
        if key.public_key() == self.key.public_key() {
            return None;
        }
        let tried = self.tried;
        if tried.is_some_and(|tried| tried.elapsed() < BETWEEN_KEYS) {
            return None;
        }
        self.tried = Some(Instant::now());
        let jwt = self.token_by(&key, &self.held).ok()?.into();
        let seed = self.user.seed();
        Some((key, Creds { jwt, seed }))
    }

    /// The server lets in who shows a token by this key.
    pub(crate) fn sign_with(&mut self, key: SigningKey) {
        self.key = Arc::new(key);
        self.tried = None;
    }

    fn key_in_file(&mut self) -> Option<SigningKey> {
        match self.signer.key_in_file()? {
            Ok(key) => {
                self.told_of_file = false;
                Some(key)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told_of_file, true) {
                    let error = message_chain(&error);
                    tracing::warn!(error, "signs for a provider with the key of before");
                }
                None
            }
        }
    }

    /// The account of the signer, where another key than that of the account signs. A key that takes the
    /// place of another signs for the same account: the process is to be among those that it knows.
    fn account(&self, key: &SigningKey) -> Option<String> {
        let account = self.signer.account.clone();
        let account = account.unwrap_or_else(|| self.signer.key.public_key());
        (account != key.public_key()).then_some(account)
    }

    fn life(&self) -> Duration {
        if self.legacy {
            LEGACY_LIFE
        } else {
            self.signer.life
        }
    }

    fn token(&self, rights: &ProviderRights) -> Result<String, NatsTokenError> {
        self.token_by(&self.key, rights)
    }

    fn token_by(
        &self,
        key: &SigningKey,
        rights: &ProviderRights,
    ) -> Result<String, NatsTokenError> {
        let list = |subjects: &BTreeSet<String>| Some(subjects.iter().cloned().collect::<Vec<_>>());
        let user = User {
            name: self.provider.as_str().to_owned(),
            key: self.user.public_key(),
            account: self.account(key),
            expires: Some(epoch_seconds() + self.life().as_secs().max(1)),
            permissions: Permissions {
                publish: list(&rights.publish),
                subscribe: list(&rights.subscribe),
            },
        };
        user_token(&user, key)
    }

    /// The process has the latest token, which lasts from when it was made.
    pub(crate) fn took(&mut self, rights: ProviderRights) {
        self.held = rights;
        if let Some((jwt, term)) = self.made.take() {
            self.holds = Some(jwt);
            (self.due, self.expires) = (term.due, term.expires);
        }
        self.heard_of = None;
        self.there = None;
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

    /// The process has heard of the latest token, and may hold it or the one before.
    pub(crate) fn heard(&mut self) {
        self.heard_of = self.made.as_ref().map(|(jwt, _)| jwt.clone());
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

    /// Whether a process whose token has ended is of no more use: another could connect. While NATS is
    /// away it goes on with the calls that it has without NATS, and is looked at again later.
    pub(crate) fn has_to_end(&mut self, is_there: bool) -> bool {
        self.there = match is_there {
            true => self.there.or_else(|| Some(Instant::now())),
            false => None,
        };
        let ends = self.there.is_some_and(|since| since.elapsed() >= SETTLED);
        if !ends {
            self.due = Deadline::after(SETTLING_LOOK);
        }
        ends
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
mod tests;
