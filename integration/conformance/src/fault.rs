//! What befalls the backend of a suite.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lattice_services::Service;
use tokio::process::Command;

use crate::catalog::{Backend, Capability, Place};
use crate::ground::{Form, Ground};

/// How long a backend is away at least: longer than what a first attempt to connect again takes.
const AWAY: Duration = Duration::from_millis(400);

/// How long one that would forget everything answers nothing.
const FROZEN: Duration = Duration::from_secs(2);

/// What befalls the backend of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: every case of the suite runs.
    None,
    /// It is killed while the suite's statements about outages are tried, and started again.
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
            (Self::Slow, Place::Told(_)) => Some("its clients go where it tells them"),
            _ => None,
        }
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

    /// Kills what stands behind the interface, and has it there again.
    pub(crate) async fn carry_out(&mut self) -> Result<()> {
        self.down().await?;
        tokio::time::sleep(match self.backend.place {
            Place::Told(_) => FROZEN,
            _ => AWAY,
        })
        .await;
        self.up().await
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
