//! Component specs and the links in them.

use std::sync::Arc;

use bytes::Bytes;
use lattice_core::record::{ComponentSpec, MAX_LINKS};
use lattice_core::rules::RuleError;
use lattice_core::subject::store::component_key;
use lattice_core::{ComponentId, ErrorCode, InvalidId, Link, LinkKey};

use crate::bucket::Bucket;
use crate::configs::CheckConfigsError;
use crate::edit::Edit;
use crate::error::StoreError;
use crate::lattice_watch::{LatticeSnapshot, LatticeWatch, typed_snapshot};
use crate::leader::Present;
use crate::raw_watch::{self, Snapshot};

/// Why a link was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutLinkError {
    /// A name in the link breaks a rule.
    #[error(transparent)]
    InvalidName(#[from] InvalidId),
    /// A rule of the link cannot be kept.
    #[error("a rule of the link cannot be kept")]
    Rules(#[from] RuleError),
    /// A config or secret that the link names does not exist.
    #[error(transparent)]
    Configs(#[from] CheckConfigsError),
    /// The source has a link of this name for a shared interface to another target. Clients of
    /// the 1.9 generation know the text.
    #[error(
        "link already exists with different target, consider deleting the existing link or using \
         a different link name"
    )]
    Conflict {
        /// The link that is there.
        existing: Box<Link>,
    },
    /// The source has as many links as there may be.
    #[error("`{source_id}` has {MAX_LINKS} links, which is the most there may be")]
    TooMany {
        /// The source.
        source_id: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PutLinkError {
    /// The code under which the error crosses the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName(_) => ErrorCode::InvalidId,
            Self::Rules(_) => ErrorCode::BadRequest,
            Self::Configs(error) => error.code(),
            Self::Conflict { .. } | Self::TooMany { .. } => ErrorCode::Conflict,
            Self::Store(error) => error.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InvalidName(error) => Some(error.hint().to_owned()),
            Self::Rules(error) => Some(error.hint()),
            Self::Configs(error) => error.hint(),
            Self::Conflict { existing } => Some(format!(
                "`{}` is linked to `{}` under the name `{}`; delete that link or choose another \
                 link name",
                existing.source_id, existing.target, existing.name
            )),
            Self::TooMany { .. } => Some(
                "delete links that nobody uses, or divide its work among several entities"
                    .to_owned(),
            ),
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }
}

/// What a deletion found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once per request and taken apart at once"
)]
pub enum DeletedLink {
    /// The source has no spec at all.
    NoSpec,
    /// The source has no such link.
    NoMatch,
    /// This link is gone now.
    Removed(Link),
}

/// The specs of components and providers, with their links.
#[derive(Debug, Clone)]
pub struct LinkStore {
    bucket: Arc<Bucket>,
}

impl LinkStore {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }

    /// Reads the spec of an entity.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer or the record is not a spec.
    pub async fn spec(&self, id: &ComponentId) -> Result<Option<ComponentSpec>, StoreError> {
        let key = component_key(id);
        match self.bucket.get(&key).await? {
            Some(record) => Ok(Some(self.parse(&key, &record.value)?)),
            None => Ok(None),
        }
    }

    /// Reads the spec of an entity as the leader of the bucket knows it; any other server may be behind.
    ///
    /// # Errors
    ///
    /// Fails when the leader does not answer or the record is not a spec.
    pub async fn sure_spec(&self, id: &ComponentId) -> Result<Option<ComponentSpec>, StoreError> {
        let key = component_key(id);
        let value = self.bucket.sure(&key).await?.value;
        value.map(|value| self.parse(&key, &value)).transpose()
    }

    /// Writes the spec of an entity that starts for the first time; an existing one stays as it
    /// is, also when its `url` is another one.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn ensure_spec(&self, id: &ComponentId, url: &str) -> Result<(), StoreError> {
        let key = component_key(id);
        let spec = ComponentSpec {
            url: url.to_owned(),
            links: Vec::new(),
        };
        let value = encode(&key, &spec)?;
        let editor = |present: Option<&[u8]>| match present {
            Some(_) => Ok(Edit::KeepAsSaid(())),
            None => Ok(Edit::Write(value.clone(), ())),
        };
        self.bucket.edit::<_, StoreError>(&key, editor).await
    }

    /// Removes the spec of an entity and with it all links that start there.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete_spec(&self, id: &ComponentId) -> Result<(), StoreError> {
        self.bucket.purge(&component_key(id)).await
    }

    /// Stores a link in the spec of its source, and returns the link it took the place of.
    ///
    /// A link with the same source, package, name and target is replaced where it stands. The
    /// configs that the link names are not looked at; see [`crate::LatticeStore::put_link`].
    ///
    /// # Errors
    ///
    /// Fails with [`PutLinkError::Conflict`] when the source has a link of this package and name
    /// to another target with a shared interface, and when the store does not answer.
    pub async fn put(&self, link: &Link) -> Result<Option<Link>, PutLinkError> {
        let source = link.check()?.source;
        link.check_rules()?;
        // The states of the ends are told in replies and stored elsewhere.
        let link = Link {
            status: Vec::new(),
            ..link.clone()
        };
        let key = component_key(&source);
        self.bucket
            .edit(&key, |present| {
                let mut spec = self.parse_or_default(&key, present)?;
                let replaced = insert(&mut spec, link.clone())?;
                Ok(Edit::Write(encode(&key, &spec)?, replaced))
            })
            .await
    }

    /// Writes the spec of an entity back that the bucket has lost. What stands there again is newer, and
    /// is only given the links that it lacks; what was deleted there stays so, but for deletions up to the
    /// revision `outdated`, see [`LatticeSnapshot::outdated`]. What is `known` is asked for when it is this
    /// one's turn to write the record, so that what somebody has deleted in an earlier one stays so.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn restore(
        &self,
        id: &ComponentId,
        outdated: u64,
        known: impl Fn() -> Option<ComponentSpec>,
    ) -> Result<(), StoreError> {
        let key = component_key(id);
        let editor = |present: &Present| {
            let Some(known) = known() else {
                return Ok(Edit::KeepAsSaid(()));
            };
            let spec = match &present.value {
                // The revision is that of its deletion.
                None if present.revision > outdated => return Ok(Edit::Keep(())),
                None => known,
                Some(value) => {
                    let mut spec = self.parse(&key, value)?;
                    if !add_missing_links(&mut spec, &known.links) {
                        return Ok(Edit::Keep(()));
                    }
                    spec
                }
            };
            Ok(Edit::Write(encode(&key, &spec)?, ()))
        };
        let edited = self.bucket.edit_present::<_, StoreError>(&key, editor);
        edited.await.map(|((), _)| ())
    }

    /// Removes the first link with this key.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete(&self, link: &LinkKey) -> Result<DeletedLink, StoreError> {
        let (namespace, package) = (link.namespace.as_str(), link.package.as_str());
        let name = link.name.as_str();
        self.delete_named(&link.source, namespace, package, name)
            .await
    }

    /// Removes the first link of a source with this package and name, which are compared as they are:
    /// whatever is stored can be deleted, also what no link would be put with.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete_named(
        &self,
        source: &ComponentId,
        namespace: &str,
        package: &str,
        name: &str,
    ) -> Result<DeletedLink, StoreError> {
        let key = component_key(source);
        let (result, before) = self
            .bucket
            .edit_telling_lost::<_, StoreError>(&key, |present| {
                if present.is_none() {
                    return Ok(Edit::Keep(DeletedLink::NoSpec));
                }
                let mut spec = self.parse_or_default(&key, present)?;
                let same = |link: &Link| {
                    *source == *link.source_id
                        && link.name == name
                        && link.wit_namespace == namespace
                        && link.wit_package == package
                };
                let Some(place) = spec.links.iter().position(same) else {
                    return Ok(Edit::Keep(DeletedLink::NoMatch));
                };
                let removed = spec.links.remove(place);
                Ok(Edit::Write(
                    encode(&key, &spec)?,
                    DeletedLink::Removed(removed),
                ))
            })
            .await?;
        Ok(match (result, before) {
            // The first write arrived, and its answer got lost.
            (DeletedLink::NoMatch, Some(removed)) => removed,
            (result, _) => result,
        })
    }

    /// Reads everything in the lattice bucket once.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn snapshot(&self) -> Result<LatticeSnapshot, StoreError> {
        let records = raw_watch::snapshot(&self.bucket).await?;
        Ok(typed_snapshot(Snapshot {
            records,
            ..Snapshot::default()
        }))
    }

    /// See [`LatticeStore::records_read`](crate::LatticeStore::records_read).
    pub(crate) fn records_read(&self) -> u64 {
        self.bucket.entries_read()
    }

    /// Starts a watch over specs and claims.
    #[must_use]
    pub fn watch(&self) -> LatticeWatch {
        LatticeWatch::start(Arc::clone(&self.bucket))
    }

    fn parse(&self, key: &str, value: &[u8]) -> Result<ComponentSpec, StoreError> {
        ComponentSpec::read(value).map_err(|source| StoreError::Malformed {
            bucket: self.bucket.name().to_owned(),
            key: key.to_owned(),
            expected: "a component spec",
            source,
        })
    }

    fn parse_or_default(
        &self,
        key: &str,
        present: Option<&[u8]>,
    ) -> Result<ComponentSpec, StoreError> {
        present.map_or_else(
            || Ok(ComponentSpec::default()),
            |value| self.parse(key, value),
        )
    }
}

fn insert(spec: &mut ComponentSpec, link: Link) -> Result<Option<Link>, PutLinkError> {
    if let Some(existing) = spec.links.iter().find(|other| link.conflicts_with(other)) {
        return Err(PutLinkError::Conflict {
            existing: Box::new(existing.clone()),
        });
    }
    if let Some(place) = spec.links.iter_mut().find(|other| link.replaces(other)) {
        return Ok(Some(std::mem::replace(place, link)));
    }
    if spec.links.len() >= MAX_LINKS {
        return Err(PutLinkError::TooMany {
            source_id: link.source_id,
        });
    }
    spec.links.push(link);
    Ok(None)
}

/// Whether there is none of `links` in the place of a link, and none that sends an interface elsewhere.
#[must_use]
pub fn is_missing(link: &Link, links: &[Link]) -> bool {
    let is_there = |other: &Link| link.replaces(other) || link.conflicts_with(other);
    !links.iter().any(is_there)
}

/// Adds those of `links` to a spec that it [lacks](is_missing). Tells whether there were any.
pub fn add_missing_links(spec: &mut ComponentSpec, links: &[Link]) -> bool {
    let before = spec.links.len();
    for link in links {
        if is_missing(link, &spec.links[..before]) {
            spec.links.push(link.clone());
        }
    }
    spec.links.len() > before
}

fn encode(key: &str, spec: &ComponentSpec) -> Result<Bytes, StoreError> {
    spec.write()
        .map(Bytes::from)
        .map_err(|source| StoreError::Encode {
            key: key.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(target: &str, interfaces: &[&str], config: &str) -> Link {
        Link {
            source_id: "a".into(),
            target: target.into(),
            name: "default".into(),
            wit_namespace: "wasi".into(),
            wit_package: "keyvalue".into(),
            interfaces: interfaces.iter().map(|name| (*name).to_owned()).collect(),
            source_config: Vec::new(),
            target_config: vec![config.into()],
            locality: lattice_core::Locality::default(),
            rules: lattice_core::LinkRules::default(),
            status: Vec::new(),
        }
    }

    #[test]
    fn more_links_than_a_host_goes_by_are_not_stored() {
        let named = |name: usize| Link {
            name: name.to_string(),
            ..link("kv", &["store"], "one")
        };
        let mut spec = ComponentSpec {
            links: (0..MAX_LINKS).map(named).collect(),
            ..ComponentSpec::default()
        };
        assert!(insert(&mut spec, named(0)).unwrap().is_some());
        let error = insert(&mut spec, named(MAX_LINKS)).unwrap_err();
        assert!(error.to_string().starts_with("`a` has"), "{error}");
        assert_eq!(spec.links.len(), MAX_LINKS);
    }

    #[test]
    fn links_are_appended_replaced_in_place_or_refused() {
        let mut spec = ComponentSpec::default();
        assert!(
            insert(&mut spec, link("kv", &["store"], "one"))
                .unwrap()
                .is_none()
        );
        assert!(
            insert(&mut spec, link("other", &["atomics"], "one"))
                .unwrap()
                .is_none()
        );
        let replaced = insert(&mut spec, link("kv", &["store", "batch"], "two")).unwrap();
        assert_eq!(replaced, Some(link("kv", &["store"], "one")));
        assert_eq!(spec.links[0], link("kv", &["store", "batch"], "two"));
        let spread = Link {
            locality: lattice_core::Locality::Spread,
            ..spec.links[0].clone()
        };
        assert!(insert(&mut spec, spread.clone()).unwrap().is_some());
        assert_eq!((spec.links.len(), &spec.links[0]), (2, &spread));
        let error = insert(&mut spec, link("third", &["batch"], "one")).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Conflict);
        assert_eq!(
            error.to_string(),
            "link already exists with different target, consider deleting the existing link or \
             using a different link name"
        );
        assert!(error.hint().unwrap().contains("linked to `kv`"));
        assert_eq!(spec.links.len(), 2);
    }
}
