//! The locks behind one link.

use std::time::Duration;

use lattice_provider_sdk::lock::{Attempt, Claim, Granted, Holder, LockError, LockName, Locks};
use lattice_provider_sdk::{Features, LinkError, Shared, chain};
use redis::Cmd;
use tokio::time::Instant;

use crate::connection::{AskError, Connection};
use crate::scripts;

/// Locks below one prefix.
#[derive(Debug)]
pub(crate) struct RedisLocks {
    connection: Shared<Connection>,
}

/// What a script answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Got { fence: u64 },
    Held(Holder),
    Done,
    Gone,
}

impl Answer {
    fn read(texts: &[String]) -> Option<Self> {
        match texts {
            [word, fence] if word == "got" => Some(Self::Got {
                fence: fence.parse().ok()?,
            }),
            [word, value, left] if word == "held" => {
                let mut parts = value.splitn(3, ' ').skip(1);
                Some(Self::Held(Holder {
                    fence: parts.next()?.parse().ok()?,
                    owner: parts.next()?.to_owned(),
                    // Negative where a key has no time.
                    expires_in_ms: left.parse().ok(),
                }))
            }
            [word] if word == "done" => Some(Self::Done),
            [word] if word == "gone" => Some(Self::Gone),
            _ => None,
        }
    }
}

impl From<AskError> for LockError {
    fn from(error: AskError) -> Self {
        let why = chain(&error);
        if error.is_refusal() {
            // The component hears no reason, so it is told here.
            tracing::warn!(error = why, "access denied");
            return Self::AccessDenied;
        }
        match error.is_answer() {
            true => Self::Other(why),
            false => Self::unavailable(why),
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

impl RedisLocks {
    pub(crate) fn new(connection: Shared<Connection>) -> Self {
        Self { connection }
    }

    /// The key that counts for a store. What is in braces decides where a cluster of servers keeps
    /// a key: all locks of a store are with their counter.
    fn counter(&self, place: &LockName) -> String {
        let (prefix, store) = (&self.connection.prefix, &place.store);
        format!("{prefix}{{{}:{store}}}", store.len())
    }

    fn key(&self, place: &LockName) -> String {
        format!("{}:{}", self.counter(place), place.name)
    }

    async fn run(&self, command: &Cmd) -> Result<Answer, LockError> {
        let texts: Vec<String> = self.connection.ask(command).await?;
        Answer::read(&texts).ok_or_else(|| {
            LockError::Other("what is stored under the key of a lock is none".to_owned())
        })
    }

    async fn attempt(&self, claim: &Claim, ttl: Duration) -> Result<Attempt, LockError> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(scripts::ACQUIRE)
            .arg(2)
            .arg(self.key(&claim.place))
            .arg(self.counter(&claim.place))
            .arg(claim.secret.expose())
            .arg(&claim.owner)
            .arg(millis(ttl));
        match self.run(&command).await? {
            Answer::Got { fence } => Ok(Attempt::Got(Granted { fence, ttl })),
            Answer::Held(holder) => {
                let left = holder.expires_in_ms;
                // A key is gone only after its last millisecond.
                let left = left.map(|left| Duration::from_millis(u64::from(left) + 1));
                let ends = left.map(|left| Instant::now() + left);
                Ok(Attempt::Held { holder, ends })
            }
            answer => Err(unexpected(&answer)),
        }
    }

    /// A script about one claim.
    fn about(&self, script: &str, claim: &Claim) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command
            .arg(script)
            .arg(1)
            .arg(self.key(&claim.place))
            .arg(claim.secret.expose())
            .arg(&claim.owner);
        command
    }
}

fn unexpected(answer: &Answer) -> LockError {
    LockError::Other(format!("Redis answered {answer:?}, which makes no sense"))
}

impl Locks for RedisLocks {
    async fn acquire(
        &self,
        claim: &Claim,
        ttl: Duration,
        until: Instant,
    ) -> Result<Granted, LockError> {
        let key = self.key(&claim.place);
        let attempt = || self.attempt(claim, ttl);
        self.connection
            .local_queue
            .enter(&key, until, attempt)
            .await
    }

    async fn renew(&self, claim: &Claim, ttl: Duration) -> Result<Granted, LockError> {
        let mut command = self.about(scripts::RENEW, claim);
        command.arg(millis(ttl));
        match self.run(&command).await? {
            Answer::Got { fence } => Ok(Granted { fence, ttl }),
            Answer::Gone => Err(LockError::NotHeld),
            answer => Err(unexpected(&answer)),
        }
    }

    async fn release(&self, claim: &Claim) -> Result<(), LockError> {
        match self.run(&self.about(scripts::RELEASE, claim)).await? {
            Answer::Done => Ok(()),
            Answer::Gone => Err(LockError::NotHeld),
            answer => Err(unexpected(&answer)),
        }
    }

    async fn inspect(&self, place: &LockName) -> Result<Option<Holder>, LockError> {
        let mut command = redis::cmd("EVAL");
        command.arg(scripts::INSPECT).arg(1).arg(self.key(place));
        match self.run(&command).await? {
            Answer::Held(holder) => Ok(Some(holder)),
            Answer::Gone => Ok(None),
            answer => Err(unexpected(&answer)),
        }
    }

    fn features(&self) -> Features {
        Features::new()
            .having("fencing")
            .lacking("fair")
            .with("consistency", "best-effort")
    }

    async fn check(&self) -> Result<(), LinkError> {
        let checked = self.connection.check().await;
        checked.map_err(|e| LinkError::unavailable(chain(&e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let read = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            Answer::read(&texts)
        };
        assert_eq!(read(&["got", "7"]), Some(Answer::Got { fence: 7 }));
        let holder = Holder {
            owner: "a b".to_owned(),
            fence: 7,
            expires_in_ms: Some(5),
        };
        assert_eq!(
            read(&["held", "s 7 a b", "5"]),
            Some(Answer::Held(holder.clone()))
        );
        let forever = Holder {
            expires_in_ms: None,
            ..holder
        };
        assert_eq!(
            read(&["held", "s 7 a b", "-1"]),
            Some(Answer::Held(forever))
        );
        for texts in [&["got", "x"][..], &["held", "x", "1"], &[], &["other"]] {
            assert_eq!(read(texts), None);
        }
    }
}
