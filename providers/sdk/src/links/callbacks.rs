//! What the task of a link calls of its provider, each with a time limit.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use crate::describe::{self, Features, REQUIRE};
use crate::error::LinkError;
use crate::link::{LinkRole, ProviderLink};
use crate::provider::{ConfigChange, Provider};

/// How long a provider may take over one link: who waits for its state is told within five seconds.
pub(super) const CALLBACK_LIMIT: Duration = Duration::from_millis(4500);
/// How long a provider may take to look whether the backend of a link is there.
pub(super) const CHECK_LIMIT: Duration = Duration::from_millis(2500);

/// Why a link is not served.
pub(super) struct Refusal {
    pub(super) error: LinkError,
    /// The provider has taken the link, or was interrupted over it, and has to let it go.
    pub(super) was_put: bool,
}

/// What is known of a link that the provider has taken.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) features: Features,
    /// What is wrong with it already, if the provider looks at once.
    pub(super) fault: Option<LinkError>,
}

/// What became of a link that was to take the place of one that is served.
pub(super) enum Replaced {
    /// It has its place.
    Taken,
    /// It was refused, and the one from before is served.
    Kept(LinkError),
    /// The provider cannot do that, or nobody knows what it has done.
    Not,
}

/// Puts a link and finds out what its backend can do, both within one limit.
pub(super) async fn put<P: Provider>(provider: &P, link: &ProviderLink) -> Result<Taken, Refusal> {
    if describe::is_question(link) {
        return Ok(Taken::default());
    }
    let by = Instant::now() + CALLBACK_LIMIT;
    begin(provider, link, by).await?;
    look(provider, link, by).await
}

/// Has the provider take a changed link in the place of the one that it serves, by `by`.
pub(super) async fn replace<P: Provider>(
    provider: &P,
    old: &ProviderLink,
    new: &ProviderLink,
    by: Instant,
) -> Replaced {
    if describe::is_question(new) {
        return Replaced::Not;
    }
    let replaced = caught(provider.replace_source_link(old, new));
    match tokio::time::timeout_at(by, replaced).await {
        Ok(Some(Ok(ConfigChange::Taken))) => Replaced::Taken,
        Ok(Some(Ok(ConfigChange::Relink))) => Replaced::Not,
        Ok(Some(Err(error))) => Replaced::Kept(error),
        Ok(None) => {
            tracing::error!(link = %new, "the provider panicked over a changed link; it is put anew");
            Replaced::Not
        }
        // A replacement that is dropped has done nothing.
        Err(_) => Replaced::Kept(LinkError::too_slow(CALLBACK_LIMIT)),
    }
}

/// Finds out what the backend of a link can do that was taken, by `by`; an error means that it has to
/// be let go.
pub(super) async fn look<P: Provider>(
    provider: &P,
    link: &ProviderLink,
    by: Instant,
) -> Result<Taken, Refusal> {
    let features = features(provider, link, by).await;
    let features = features.map_err(|error| Refusal {
        error,
        was_put: true,
    })?;
    let fault = match P::LOOKS_AT_ONCE {
        true => bounded(by, provider.check_link(link)).await.err(),
        false => None,
    };
    Ok(Taken { features, fault })
}

async fn features<P: Provider>(
    provider: &P,
    link: &ProviderLink,
    by: Instant,
) -> Result<Features, LinkError> {
    let is_source = link.role == LinkRole::Source;
    if is_source && link.value(REQUIRE).is_none() {
        return Ok(Features::new());
    }
    let described = bounded(by, async {
        let features = provider.describe(link).await;
        let Err(lacking) = features.check(P::NAME, link) else {
            return Ok(features);
        };
        // A backend that has gone meanwhile may have it, and be back soon.
        provider.check_link(link).await?;
        Err(lacking)
    });
    // Nobody calls through a link with the provider as source, so nobody asks for its features.
    match is_source {
        true => described.await.map(|_| Features::new()),
        false => described.await,
    }
}

/// Puts a link. One over which the provider was interrupted it has to let go.
async fn begin<P: Provider>(provider: &P, link: &ProviderLink, by: Instant) -> Result<(), Refusal> {
    let mut has_answered = false;
    let put = bounded(by, async {
        let put = match link.role {
            LinkRole::Source => provider.put_source_link(link).await,
            LinkRole::Target => provider.put_target_link(link).await,
        };
        has_answered = true;
        put
    });
    put.await.map_err(|error| Refusal {
        error,
        was_put: !has_answered,
    })
}

/// Has the provider let a link go; `false` when it does not in time.
pub(super) async fn delete<P: Provider>(provider: &P, link: &ProviderLink) -> bool {
    let deleted = async {
        match link.role {
            LinkRole::Source => provider.delete_source_link(link).await,
            LinkRole::Target => provider.delete_target_link(link).await,
        }
    };
    let deleted = tokio::time::timeout(CALLBACK_LIMIT, caught(deleted));
    deleted.await.is_ok()
}

/// Has the provider let go of what it or its backend keeps for a link that is gone, within `limit`;
/// `false` when it does not.
pub(super) async fn forget<P: Provider>(
    provider: &P,
    link: &ProviderLink,
    limit: Duration,
) -> bool {
    let forgotten = async {
        match link.role {
            LinkRole::Source => provider.forget_source_link(link).await,
            LinkRole::Target => provider.forget_target_link(link).await,
        }
    };
    tokio::time::timeout(limit, caught(forgotten)).await.is_ok()
}

/// Asks how the backend of a link does.
pub(super) async fn check<P: Provider>(provider: &P, link: &ProviderLink) -> Result<(), LinkError> {
    if describe::is_question(link) {
        return Ok(());
    }
    let checked = bounded(Instant::now() + CALLBACK_LIMIT, provider.check_link(link));
    let checked = tokio::time::timeout(CHECK_LIMIT, checked);
    checked.await.unwrap_or_else(|_| {
        let limit = CHECK_LIMIT;
        Err(LinkError::unavailable(format!(
            "the backend of the link has not answered within {limit:?}"
        )))
    })
}

/// Lets a provider take its time over a link, until `by`.
async fn bounded<T>(
    by: Instant,
    callback: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    match tokio::time::timeout_at(by, caught(callback)).await {
        Ok(Some(done)) => done,
        Ok(None) => Err(LinkError::invalid("the provider panicked over the link")),
        Err(_) => Err(LinkError::too_slow(CALLBACK_LIMIT)),
    }
}

/// Runs a callback; `None` when it panics, which ends neither its task nor the provider.
pub(crate) async fn caught<T>(callback: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(callback).catch_unwind().await.ok()
}
