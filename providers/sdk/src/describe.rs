//! What a backend can do, in words that a link may require.
//!
//! A provider tells the [`Features`] of each link that it took. They are names with values; which
//! there are is said by the [`vocabulary`] of a capability, and what a backend lacks has the value
//! `none`. A link that has the value `require` in the config of the provider's end, be that its target or its source,
//! is taken only by a backend that has all of it:
//!
//! ```
//! use lattice_provider_sdk::Features;
//!
//! let redis = Features::new().with("increment", "atomic").with("max-value-bytes", 536_870_912);
//! let redis = redis.lacking("order");
//! assert!(redis.lacks("increment, max-value-bytes>=1000").is_empty());
//! assert_eq!(redis.lacks("cas, order, increment=none"), ["cas", "order", "increment=none"]);
//! ```

pub mod vocabulary;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use lattice_codec::write;
use lattice_rpc::{Context, IncomingCall};
use parking_lot::RwLock;

use crate::backends::NoLink;
use crate::error::{LinkError, ServeError};
use crate::link::{LinkKey, ProviderLink};
use crate::provider::Provider;
use crate::session::Session;
use vocabulary::NONE;

/// The interface by which every provider tells its callers the features of their link.
const INTERFACE: &str = "lattice:provider/describe@0.1.0";

/// Whether a link only says through which provider a component asks for features: those of its
/// other links of the same name. The provider itself does not hear of it.
pub(crate) fn is_question(link: &ProviderLink) -> bool {
    let package = (link.namespace.as_str(), link.package.as_str());
    package == ("lattice", "provider")
}

/// The value of a link that lists what its backend has to have.
pub(crate) const REQUIRE: &str = "require";

/// What a backend can do: names of features with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features(BTreeMap<&'static str, String>);

impl Features {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one with its value, such as `consistency` and `linearizable`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.insert(name, value.to_string());
        self
    }

    /// Adds one that needs no value.
    #[must_use]
    pub fn having(self, name: &'static str) -> Self {
        self.with(name, "yes")
    }

    /// Adds one that is not there, so that who asks for it knows.
    #[must_use]
    pub fn lacking(self, name: &'static str) -> Self {
        self.with(name, NONE)
    }

    /// Adds one that needs no value if it is there.
    #[must_use]
    pub fn having_if(self, name: &'static str, is_there: bool) -> Self {
        match is_there {
            true => self.having(name),
            false => self.lacking(name),
        }
    }

    /// All of them in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// The parts of a requirement that are not met: names, `name=value` and `name>=number`, joined
    /// by commas.
    #[must_use]
    pub fn lacks<'a>(&self, required: &'a str) -> Vec<&'a str> {
        let parts = required.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.filter(|part| !self.meets(part)).collect()
    }

    fn meets(&self, part: &str) -> bool {
        if let Some((name, least)) = part.split_once(">=") {
            let number = |text: &str| text.trim().parse::<u64>().ok();
            let has = self.0.get(name.trim()).and_then(|value| number(value));
            return matches!((has, number(least)), (Some(has), Some(least)) if has >= least);
        }
        if let Some((name, value)) = part.split_once('=') {
            return self
                .0
                .get(name.trim())
                .is_some_and(|has| has == value.trim());
        }
        self.0.get(part).is_some_and(|value| value != NONE)
    }

    /// Refuses a link that requires what is not there.
    ///
    /// # Errors
    ///
    /// [`LinkError::Invalid`] names what is missing and what there is.
    pub(crate) fn check(&self, provider: &str, link: &ProviderLink) -> Result<(), LinkError> {
        let lacks = self.lacks(link.value(REQUIRE).unwrap_or_default());
        if lacks.is_empty() {
            return Ok(());
        }
        Err(LinkError::invalid(format!(
            "the link requires {}, which {provider} does not have here; it has {self}",
            Listed(lacks.into_iter())
        )))
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.iter().filter(|(_, value)| *value != NONE);
        if there.clone().next().is_none() {
            return f.write_str("nothing to require");
        }
        for (i, (name, value)) in there.enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match value {
                "yes" => write!(f, "{comma}`{name}`")?,
                _ => write!(f, "{comma}`{name}={value}`")?,
            }
        }
        Ok(())
    }
}

/// The features of the links that a provider has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Described(Arc<RwLock<HashMap<LinkKey, Features>>>);

impl Described {
    pub(crate) fn put(&self, key: &LinkKey, features: Features) {
        self.0.write().insert(key.clone(), features);
    }

    pub(crate) fn forget(&self, key: &LinkKey) {
        self.0.write().remove(key);
    }

    /// Those of all links of the caller by the name that the call comes through.
    fn of(&self, cx: &Context) -> Result<Features, NoLink> {
        let source = cx.source_id.as_deref().unwrap_or("<unknown>");
        let table = self.0.read();
        let links = table
            .iter()
            .filter(|(key, _)| key.peer.as_str() == source && key.name.as_str() == &*cx.link_name);
        let mut found = None;
        for (_, features) in links {
            let all: &mut Features = found.get_or_insert_default();
            let more = features
                .0
                .iter()
                .map(|(name, value)| (*name, value.clone()));
            all.0.extend(more);
        }
        found.ok_or_else(|| NoLink {
            from: source.to_owned(),
            name: cx.link_name.to_string(),
        })
    }
}

/// Serves `describe` until the provider stops.
pub(crate) async fn serve<P: Provider>(session: &Session) -> Result<(), ServeError> {
    let described = session.described().clone();
    let handler = move |call: IncomingCall| {
        let answer = encode(P::NAME, described.of(&call.context));
        async move {
            if let Err(error) = call.responder.reply(answer).await {
                tracing::debug!(%error, "could not answer who asked for a description");
            }
        }
    };
    session.serve(INTERFACE, "describe", handler).await
}

/// A `result<description, string>` of WIT package `lattice:provider`.
fn encode(provider: &str, features: Result<Features, NoLink>) -> Bytes {
    let mut out = BytesMut::new();
    match features {
        Ok(features) => {
            write::bool(&mut out, false);
            write::string(&mut out, provider);
            write::string(&mut out, env!("CARGO_PKG_VERSION"));
            write::uleb(&mut out, features.0.len() as u64);
            for (name, value) in features.iter() {
                write::string(&mut out, name);
                write::string(&mut out, value);
            }
        }
        Err(error) => {
            write::bool(&mut out, true);
            write::string(&mut out, &error.to_string());
        }
    }
    out.freeze()
}

/// Names with commas between them.
struct Listed<I>(I);

impl<'a, I: Iterator<Item = &'a str> + Clone> fmt::Display for Listed<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.clone().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_to_be_met() {
        let features = Features::new()
            .having("cas")
            .with("consistency", "linearizable")
            .with("max-value-bytes", 1024)
            .lacking("watch")
            .having_if("order", false);
        for met in [
            "",
            "cas",
            "cas=yes",
            " cas , max-value-bytes>=1024",
            "consistency=linearizable",
            "watch=none",
        ] {
            assert!(features.lacks(met).is_empty(), "{met}");
        }
        for unmet in [
            "ttl",
            "watch",
            "order",
            "consistency=eventual",
            "max-value-bytes>=1025",
            "cas>=1",
            "max-value-bytes>=many",
        ] {
            assert_eq!(features.lacks(unmet), [unmet]);
        }
        assert_eq!(
            features.to_string(),
            "`cas`, `consistency=linearizable`, `max-value-bytes=1024`"
        );
    }
}
