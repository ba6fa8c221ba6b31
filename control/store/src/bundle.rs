//! Several configs seen as one.

use std::sync::Arc;

use futures::future::select_all;
use lattice_core::{ConfigName, ErrorCode, StringMap, config};

use crate::config_watch::ConfigWatch;
use crate::configs::ConfigStore;
use crate::error::StoreError;

/// Why a bundle could not be put together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A config does not exist. Clients of the 1.9 generation know the text.
    #[error("Config {name} does not exist")]
    Missing {
        /// Its name.
        name: ConfigName,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BundleError {
    /// The code under which the error crosses the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::MissingConfig,
            Self::Store(error) => error.code(),
        }
    }
}

/// An ordered list of configs whose merged content follows the store.
///
/// A config that is deleted later counts as empty, unless the bundle is a
/// [keeping](ConfigBundle::keeping) one.
#[derive(Debug)]
pub struct ConfigBundle {
    watches: Vec<ConfigWatch>,
    keeps: bool,
    merged: Arc<StringMap>,
}

impl ConfigBundle {
    /// Reads every config once and starts to follow it.
    ///
    /// # Errors
    ///
    /// Fails when a config does not exist or the store does not answer.
    pub async fn open(store: &ConfigStore, names: &[ConfigName]) -> Result<Self, BundleError> {
        let mut watches = Vec::with_capacity(names.len());
        for name in names {
            let watch = store.watch(name).await?;
            if watch.current().is_none() {
                return Err(BundleError::Missing { name: name.clone() });
            }
            watches.push(watch);
        }
        let merged = Arc::new(merge(&watches, false));
        Ok(Self {
            watches,
            keeps: false,
            merged,
        })
    }

    /// Has configs that are deleted later count with their last values, for whoever would go on
    /// without a limit that stands in them.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// The merged content as it was when the bundle was opened, [refreshed](ConfigBundle::refresh), or
    /// [`ConfigBundle::changed`] last returned; later names win.
    #[must_use]
    pub fn merged(&self) -> Arc<StringMap> {
        Arc::clone(&self.merged)
    }

    /// The merged content as it is now. [`ConfigBundle::changed`] does not return it again.
    pub fn refresh(&mut self) -> Arc<StringMap> {
        let merged = merge(&self.watches, self.keeps);
        if merged != *self.merged {
            self.merged = Arc::new(merged);
        }
        self.merged()
    }

    /// Waits until the merged content is another one, and returns it.
    ///
    /// Nothing is lost when the future is dropped. A bundle of no configs waits for ever.
    pub async fn changed(&mut self) -> Arc<StringMap> {
        loop {
            let before = self.merged();
            let merged = self.refresh();
            if !Arc::ptr_eq(&before, &merged) {
                return merged;
            }
            if self.watches.is_empty() {
                return std::future::pending().await;
            }
            select_all(
                self.watches
                    .iter_mut()
                    .map(|watch| Box::pin(watch.changed())),
            )
            .await;
        }
    }
}

fn merge(watches: &[ConfigWatch], keeps: bool) -> StringMap {
    let content = match keeps {
        true => ConfigWatch::current_or_last,
        false => ConfigWatch::current,
    };
    let configs: Vec<Arc<StringMap>> = watches.iter().filter_map(content).collect();
    config::merge(configs.iter().map(AsRef::as_ref))
}
