//! Why a call is refused.

use lattice_core::event::CallRefused;

use crate::error::RemoteError;
use crate::header::LONGEST_NAME;
use crate::throttle::Throttled;

/// Refusals of calls to one entity for one reason are told together, but for those whose caller is certain:
/// they are told apart.
impl Throttled for CallRefused {
    type Kind = (String, String);

    fn kind(&self) -> Self::Kind {
        (self.target_id.clone(), self.code.clone())
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.suppressed
    }

    fn owner(&self) -> Option<String> {
        self.caller_id.clone()
    }
}

/// Why a call is refused because of who makes it.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// One of the codes of [`RemoteError`].
    pub(crate) code: &'static str,
    pub(crate) message: String,
    hint: Option<&'static str>,
    /// Who makes it, where that is certain.
    pub(super) caller: Option<String>,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            caller: None,
        }
    }

    /// Says who makes the call, if that is certain.
    pub(super) fn by(self, caller: &str, is_certain: bool) -> Self {
        Self {
            caller: is_certain.then(|| caller.to_owned()),
            ..self
        }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    /// It proves nothing.
    pub(crate) fn unauthenticated() -> Self {
        let text = "the call does not prove who makes it, which this lattice demands";
        Self::new(RemoteError::UNAUTHENTICATED, text).hint(
            "call from a host or provider of the cluster, or start hosts with `--allow-legacy-peers`",
        )
    }

    /// Its proof is none.
    pub(super) fn malformed() -> Self {
        let text = "the call carries a proof of who makes it that is not readable";
        Self::new(RemoteError::BAD_PROOF, text)
    }

    /// Its proof is that of another call.
    pub(super) fn wrong_code() -> Self {
        let text = "the call is not the one that its caller made: its proof does not fit";
        Self::new(RemoteError::BAD_PROOF, text)
    }

    /// Its session is for somebody else.
    pub(super) fn wrong_target(target: &str) -> Self {
        let text = format!("the call carries the proof of a call to `{target}`");
        Self::new(RemoteError::BAD_PROOF, text)
    }

    /// It has been here before.
    pub(super) fn replayed() -> Self {
        let text = "the call was made once and has come again";
        Self::new(RemoteError::REPLAYED, text)
    }

    /// It comes later than it may.
    pub(super) fn stale() -> Self {
        let text = "the call has come after its time";
        Self::new(RemoteError::STALE, text)
    }

    /// Its caller knows nothing of the session.
    pub(super) fn unknown_session() -> Self {
        let text = "whoever seems to make the call knows nothing of its session";
        Self::new(RemoteError::UNKNOWN_SESSION, text)
    }

    /// Its caller did not say under which key it is.
    pub(super) fn unanswered(why: &str) -> Self {
        let text = format!("the key of the call's session could not be had: {why}");
        Self::new(RemoteError::UNKNOWN_SESSION, text).hint("try again")
    }

    /// Its time is over before that is known.
    pub(crate) fn not_in_time() -> Self {
        Self::unanswered("there was no answer in time")
    }

    /// Its caller does not believe this peer.
    pub(super) fn withheld() -> Self {
        let text = "the caller does not trust whoever serves the call here with its key";
        Self::new(RemoteError::UNTRUSTED, text).hint(
            "start both hosts with the same `--cluster-seed`, or name it in `--cluster-issuers`",
        )
    }

    /// Nobody vouches for its caller.
    pub(super) fn untrusted(peer: &str) -> Self {
        let text = format!("the call is made by {peer}, for which no trusted cluster vouches");
        Self::new(RemoteError::UNTRUSTED, text).hint(
            "start both hosts with the same `--cluster-seed`, or name it in `--cluster-issuers`",
        )
    }

    /// The tokens of its caller do not hold.
    pub(super) fn bad_tokens(why: &str) -> Self {
        let text = format!("the caller does not prove who it is: {why}");
        Self::new(RemoteError::UNTRUSTED, text)
    }

    /// The tokens of its caller held once.
    pub(super) fn expired(why: &str) -> Self {
        let text = format!("the caller does not prove who it is: {why}");
        Self::new(RemoteError::EXPIRED, text).hint("compare the clocks of both machines")
    }

    /// Its caller calls in another's name.
    pub(super) fn foreign_source(peer: &str, source: &str) -> Self {
        let source: String = source.chars().take(80).collect();
        let text = format!("{peer} may not call as `{source}`");
        Self::new(RemoteError::FOREIGN_SOURCE, text)
    }

    /// A provider calls what it is not linked to.
    pub(super) fn not_linked(source: &str, target: &str, interface: &str) -> Self {
        let cut = |text: &str| text.chars().take(80).collect::<String>();
        let (target, interface) = (cut(target), cut(interface));
        let text = format!("provider `{source}` has no link to `{target}` for `{interface}`");
        Self::new(RemoteError::NOT_LINKED, text)
            .hint("put a link from the provider that names the interface and has no rules")
    }

    /// Its answer would go where no answers go.
    pub(super) fn no_inbox(reply: &str) -> Self {
        let reply: String = reply.chars().take(80).collect();
        let text = format!("the answer to the call would go to `{reply}`, which is no inbox");
        Self::new(RemoteError::BAD_REQUEST, text)
    }

    /// It names somebody by more than any name has.
    pub(crate) fn long_name(header: &str, size: usize) -> Self {
        let text = format!(
            "`{header}` of the call has {size} bytes, more than the {LONGEST_NAME} of a name"
        );
        Self::new(RemoteError::BAD_REQUEST, text)
            .hint("give components, providers and links shorter names")
    }

    /// Too many wait for keys.
    pub(crate) fn busy() -> Self {
        Self::new(
            RemoteError::OVERLOADED,
            "too many calls wait for the keys of their sessions",
        )
    }

    /// What its caller is told.
    pub(crate) fn error(&self) -> RemoteError {
        let error = RemoteError::new(self.code, self.message.clone());
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
