//! The place of one provider id on this host, as others see it.

use lattice_claims::ProviderClaims;
use lattice_core::host::ProviderDescription;
use lattice_core::reference::{Reference, canonical, without_scheme};
use lattice_core::{ComponentId, ImageRef, StringMap};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Who wants a provider to stop, and by when it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StopProvider {
    /// When the process is killed if it has not ended by itself.
    pub(crate) deadline: Instant,
    /// Whether the lattice is told; a host that stops says goodbye for all.
    pub(crate) tell: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a process was started yet.
    running: bool,
    shown: Shown,
    problem: Option<String>,
    /// Where only its process is asked for its health.
    health: Option<String>,
    /// Whether its process is of the 1.9 generation, as far as is known.
    legacy: bool,
}

/// What the claims of a provider say that others see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: Option<String>,
    pub(crate) revision: i32,
    pub(crate) version: Option<String>,
    pub(crate) expires: Option<u64>,
}

impl Shown {
    pub(crate) fn of(claims: Option<&ProviderClaims>) -> Self {
        let metadata = claims.and_then(|claims| claims.metadata.as_ref());
        Self {
            name: metadata.and_then(|metadata| metadata.name.clone()),
            revision: metadata
                .and_then(|metadata| metadata.revision)
                .unwrap_or_default(),
            version: metadata.and_then(|metadata| metadata.version.clone()),
            expires: claims.and_then(|claims| claims.expires),
        }
    }
}

/// A provider that runs here or is being started.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: ComponentId,
    pub(crate) image: ImageRef,
    pub(crate) annotations: StringMap,
    state: RwLock<State>,
    stop: watch::Sender<Option<StopProvider>>,
    /// Set when nothing of the provider is left.
    ended: CancellationToken,
}

impl Slot {
    pub(crate) fn new(id: ComponentId, image: ImageRef, annotations: StringMap) -> Self {
        Self {
            id,
            image,
            annotations,
            state: RwLock::default(),
            stop: watch::Sender::new(None),
            ended: CancellationToken::new(),
        }
    }

    /// The image as events and inventories show it.
    pub(crate) fn image_ref(&self) -> &str {
        without_scheme(self.image.as_str())
    }

    /// The same in its one form, however it is written.
    pub(crate) fn canonical_image(&self) -> String {
        without_scheme(&canonical(self.image.as_str())).to_owned()
    }

    /// Whether it is one of those that come with the host.
    pub(crate) fn is_builtin(&self) -> bool {
        matches!(Reference::parse(&self.image), Ok(Reference::Builtin(_)))
    }

    /// How the provider is shown, once its process was started.
    pub(crate) fn describe(&self) -> Option<ProviderDescription> {
        let state = self.state.read();
        state.running.then(|| ProviderDescription {
            id: self.id.as_str().to_owned(),
            image_ref: Some(self.image_ref().to_owned()),
            name: state.shown.name.clone(),
            revision: state.shown.revision,
            version: state.shown.version.clone(),
            expires: state.shown.expires,
            annotations: Some(self.annotations.clone()),
            problem: state.problem.clone(),
            legacy: state.legacy,
        })
    }

    pub(crate) fn set_running(&self, shown: Shown) {
        let mut state = self.state.write();
        state.running = true;
        state.shown = shown;
    }

    pub(crate) fn set_problem(&self, problem: Option<String>) {
        self.state.write().problem = problem;
    }

    /// Notes of which generation its process is.
    pub(crate) fn set_legacy(&self, legacy: bool) {
        self.state.write().legacy = legacy;
    }

    pub(crate) fn set_health_subject(&self, subject: String) {
        self.state.write().health = Some(subject);
    }

    /// Where the process is asked for its health, once it was started.
    pub(crate) fn health_subject(&self) -> Option<String> {
        let state = self.state.read();
        state.health.clone().filter(|_| state.running)
    }

    /// Asks for the end and waits for it. The first wish counts; a later one can bring its deadline
    /// forward, as a host does that has less time itself.
    pub(crate) async fn stop(&self, wish: StopProvider) {
        self.stop.send_if_modified(|stop| match stop {
            None => {
                *stop = Some(wish);
                true
            }
            Some(first) if wish.deadline < first.deadline => {
                first.deadline = wish.deadline;
                true
            }
            Some(_) => false,
        });
        self.ended.cancelled().await;
    }

    /// Does what belongs to the end, until `deadline` or an earlier one that is wished meanwhile.
    pub(crate) async fn in_time<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.time_over(deadline) => None,
        }
    }

    async fn time_over(&self, deadline: Instant) {
        let mut stop = self.stop.subscribe();
        loop {
            let wished = stop.borrow_and_update().map(|wish| wish.deadline);
            let until = wished.map_or(deadline, |wished| wished.min(deadline));
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = stop.changed() => {}
            }
        }
    }

    /// Waits until the end is asked for.
    pub(crate) async fn stop_wanted(&self) -> StopProvider {
        let mut stop = self.stop.subscribe();
        let wish = stop
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|wish| *wish);
        match wish {
            Some(wish) => wish,
            // The sender lives in this slot, so that this does not happen.
            None => std::future::pending().await,
        }
    }

    pub(crate) fn set_ended(&self) {
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_end_under_way_is_brought_forward_and_never_put_off() {
        for (first, second) in [(60, 5), (5, 60)] {
            let (id, image) = (ComponentId::new("kv"), ImageRef::new("file:///kv"));
            let slot = Slot::new(id.unwrap(), image.unwrap(), StringMap::new());
            let begun = Instant::now();
            let wish = |seconds: u32, tell| StopProvider {
                deadline: begun + seconds * SECOND,
                tell,
            };
            let ending = async {
                let wish = slot.stop_wanted().await;
                let done = slot.in_time(wish.deadline, std::future::pending::<()>());
                assert_eq!(done.await, None);
                slot.set_ended();
            };
            let another = async {
                sleep(SECOND).await;
                slot.stop(wish(second, false)).await;
            };
            tokio::join!(slot.stop(wish(first, true)), ending, another);
            assert_eq!(begun.elapsed(), 5 * SECOND);
            assert!(slot.stop_wanted().await.tell, "the first wish is no more");
        }
    }
}
