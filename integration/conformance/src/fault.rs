//! What befalls the backend of a suite.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lattice_services::Service;
use tokio::process::Command;

use crate::catalog::{Backend, Capability, Place};
use crate::ground::{Form, Ground};

/// How long a backend is away at least: longer than what a first attempt to connect again takes.
const AWAY: Duration = Duration::from_millis(400);

/// How long one that falls silent answers nothing.
const FROZEN: Duration = Duration::from_secs(2);

/// What befalls the backend of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: every case of the suite runs.
    None,
    /// While the suite's statements about outages are tried it is killed and started again. One that forgets
    /// everything with its end falls silent before that; one that tells its clients where to go only falls
    /// silent.
    Killed,
    /// Every case runs over a connection that takes its time.
    Slow,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Killed, Self::Slow];

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Killed => "killed",
            Self::Slow => "slow",
        }
    }

    /// Why it cannot befall a backend, where it cannot.
    #[must_use]
    pub fn cannot(
        self,
        capability: &Capability,
        backend: &Backend,
        form: Form,
    ) -> Option<&'static str> {
        let driven = capability.driven;
        match (self, backend.place) {
            (Self::None, _) => None,
            // A driven suite says itself what its cases are for.
            _ if !driven.is_empty() && driven.iter().all(|case| !case.faults.contains(&self)) => {
                Some("nothing stands behind it")
            }
            (Self::Killed, Place::Provider) if form == Form::InHost => {
                Some("the backend is in the provider, which is in the host")
            }
            (Self::Slow, Place::Provider) if driven.is_empty() => {
                Some("there is no connection of the backend's own")
            }
            _ => None,
        }
    }
}

/// How what stands behind an interface is struck while statements about outages are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// It answers nothing for a while, and has kept everything.
    Silence,
    /// It ends and is started again.
    Death,
}

/// The blows for a backend, in their order. What a service would forget with its end has to be there
/// after a silence, so that one comes first.
fn blows(backend: &Backend) -> &'static [Blow] {
    match backend.place {
        Place::Told(_) => &[Blow::Silence],
        Place::Service(_) if backend.forgets.is_some() => &[Blow::Silence, Blow::Death],
        _ => &[Blow::Death],
    }
}

/// What is struck down and gets up again.
pub(crate) struct Strike<'a> {
    pub(crate) ground: &'a mut Ground,
    pub(crate) backend: &'a Backend,
    pub(crate) form: Form,
    state: State,
}

/// What became of what stands behind the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Standing,
    Down,
    /// The provider with this process id was killed, and is its host's to start again.
    Killed(u32),
}

impl<'a> Strike<'a> {
    pub(crate) fn new(ground: &'a mut Ground, backend: &'a Backend, form: Form) -> Self {
        Self {
            ground,
            backend,
            form,
            state: State::Standing,
        }
    }

    /// What befalls it, one after the other.
    pub(crate) fn blows(&self) -> &'static [Blow] {
        blows(self.backend)
    }

    /// Strikes what stands behind the interface, and has it there again.
    pub(crate) async fn carry_out(&mut self, blow: Blow) -> Result<()> {
        match blow {
            Blow::Silence => {
                self.service()?.freeze()?;
                tokio::time::sleep(FROZEN).await;
                self.service()?.thaw()
            }
            Blow::Death => {
                self.down().await?;
                tokio::time::sleep(AWAY).await;
                self.up().await
            }
        }
    }

    /// Kills it.
    pub(crate) async fn down(&mut self) -> Result<()> {
        self.state = State::Down;
        match self.backend.place {
            Place::Service(_) => self.service()?.kill(),
            Place::Told(_) => self.service()?.freeze()?,
            Place::Lattice | Place::Nats(_) => self.ground.lattice.nats.stop(),
            Place::Provider => self.state = State::Killed(self.kill_provider().await?),
            Place::Outside => bail!("what is outside is struck down by its cases"),
        }
        Ok(())
    }

    /// Has it there again.
    pub(crate) async fn up(&mut self) -> Result<()> {
        match self.backend.place {
            Place::Service(_) => self.service()?.start_again().await?,
            Place::Told(_) => self.service()?.thaw()?,
            Place::Lattice | Place::Nats(_) => self.ground.lattice.nats.restart().await?,
            // Its host starts it again.
            Place::Provider | Place::Outside => {}
        }
        self.state = State::Standing;
        Ok(())
    }

    /// Has it there again after a case that failed while it was away.
    pub(crate) async fn tidy(&mut self) -> Result<()> {
        match self.state {
            State::Standing => Ok(()),
            State::Down | State::Killed(_) => self.up().await,
        }
    }

    /// Kills it once more where its host has started it again already, so that what was done
    /// since [`Strike::down`] was done before its last start.
    pub(crate) async fn down_again(&mut self) -> Result<()> {
        match self.state {
            State::Killed(before) if self.provider().is_ok_and(|now| now != before) => {
                self.down().await
            }
            _ => Ok(()),
        }
    }

    fn service(&mut self) -> Result<&mut Service> {
        let service = self.ground.service.as_mut();
        service.context("there is no service")
    }

    fn provider(&self) -> Result<u32> {
        let host = &self.ground.lattice.hosts[self.form.host()];
        host.provider_pid(&format!("{}-provider", self.backend.provider))
    }

    async fn kill_provider(&self) -> Result<u32> {
        let pid = self.provider()?;
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .await?;
        ensure!(killed.success(), "could not kill the provider {pid}");
        Ok(pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::CATALOG;

    #[test]
    fn what_a_service_keeps_is_looked_at_before_it_forgets() {
        for backend in CATALOG.iter().flat_map(|it| it.backends) {
            let is_service = backend.place.service().is_some();
            if is_service && backend.forgets.is_some() {
                let wanted = [Blow::Silence, Blow::Death];
                assert_eq!(blows(backend), wanted, "{}", backend.name);
            }
        }
    }

    #[test]
    fn what_keeps_everything_meets_one_blow() {
        let lasting = CATALOG.iter().flat_map(|it| it.backends);
        for backend in lasting.filter(|it| it.forgets.is_none()) {
            let wanted = match backend.place {
                Place::Told(_) => Blow::Silence,
                _ => Blow::Death,
            };
            assert_eq!(blows(backend), [wanted], "{}", backend.name);
        }
    }
}
