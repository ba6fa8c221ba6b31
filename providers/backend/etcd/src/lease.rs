//! Leases: keys that end unless somebody keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::{Effect, Etcd};
use crate::error::{Code, EtcdError};
use crate::lines::Lines;
use crate::wire::number;

/// A lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Granted {
    /// Its id.
    pub id: i64,
    /// How long it lives when nobody keeps it.
    pub ttl: Duration,
}

/// How long a lease still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// From now.
    pub ttl: Duration,
    /// What it was granted for.
    pub granted: Duration,
}

#[derive(Serialize)]
struct Grant {
    #[serde(rename = "TTL", with = "number")]
    ttl: i64,
}

#[derive(Serialize)]
struct Id {
    #[serde(rename = "ID", with = "number")]
    id: i64,
}

#[derive(Debug, Default, Deserialize)]
struct LeaseWire {
    #[serde(default, rename = "ID", with = "number")]
    id: i64,
    #[serde(default, rename = "TTL", with = "number")]
    ttl: i64,
    #[serde(default, rename = "grantedTTL", with = "number")]
    granted: i64,
}

impl Etcd {
    /// Makes a lease. etcd counts in seconds: the time is rounded up, and etcd may take a longer one
    /// than it likes, which the answer tells.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn grant(&self, ttl: Duration) -> Result<Granted, EtcdError> {
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = i64::try_from(whole.max(1)).unwrap_or(i64::MAX);
        let wanted = Grant { ttl };
        let asked = self.ask::<LeaseWire>("/v3/lease/grant", &wanted, Effect::Once);
        let lease = asked.await?;
        Ok(Granted {
            id: lease.id,
            ttl: seconds(lease.ttl),
        })
    }

    /// Ends a lease, and all keys with it. One that is gone already is no error: `false`.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn revoke(&self, id: i64) -> Result<bool, EtcdError> {
        // Ids are not used twice.
        let which = Id { id };
        let asked = self.ask::<serde_json::Value>("/v3/lease/revoke", &which, Effect::Same);
        match asked.await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(Code::NOT_FOUND) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets a lease live on, and tells for how long; `None` when it has ended.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn keep_alive(&self, id: i64) -> Result<Option<Duration>, EtcdError> {
        const PATH: &str = "/v3/lease/keepalive";
        let (authority, answer) = self.open(PATH, &Id { id }).await?;
        // A stream in both directions, of which only the first answer matters.
        let mut lines = Lines::new(authority, PATH, answer);
        let limit = self.answer_limit();
        let all = async {
            let first = lines.next::<LeaseWire>().await?;
            // Up to its end, so that the connection can be used again.
            while lines.next::<LeaseWire>().await?.is_some() {}
            Ok::<_, EtcdError>(first.unwrap_or_default())
        };
        let lease = match tokio::time::timeout(limit, all).await {
            Ok(lease) => lease?,
            Err(_) => return Err(lines.silent(limit)),
        };
        Ok((lease.ttl > 0).then(|| seconds(lease.ttl)))
    }

    /// How long a lease still lives; `None` when it has ended.
    ///
    /// # Errors
    ///
    /// [`EtcdError`]
    pub async fn time_to_live(&self, id: i64) -> Result<Option<Remaining>, EtcdError> {
        let which = Id { id };
        let asked = self.ask::<LeaseWire>("/v3/lease/timetolive", &which, Effect::Same);
        let lease = asked.await?;
        // What is expiring has nothing left, and what is gone less than that.
        Ok((lease.ttl >= 0 && lease.granted > 0).then(|| Remaining {
            ttl: seconds(lease.ttl),
            granted: seconds(lease.granted),
        }))
    }
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or_default())
}
