//! Attempts that go on while something is struck down and gets up again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How many attempts there are at once.
const WORKERS: usize = 4;
/// The pause of a worker between two attempts.
const PAUSE: Duration = Duration::from_millis(15);
/// How long an attempt may take, whatever becomes of it: who takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many have to end well until something works.
const ENOUGH: usize = 8;
/// How long it may take until something works, or fails, on a busy machine.
const WITHIN: Duration = Duration::from_secs(45);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum End {
    Well,
    /// With an error that what was struck down explains.
    Explained(String),
    /// As it must not.
    Broken(String),
}

/// What became of all attempts.
#[derive(Debug, Clone, Default)]
struct Counts {
    well: usize,
    explained: usize,
    /// The last error that was explained.
    last: String,
    /// When the youngest attempt that failed so had begun.
    last_begun: Option<Instant>,
    /// The first thing that must not be.
    broken: Option<String>,
}

impl Counts {
    fn note(&mut self, begun: Instant, end: End) {
        match end {
            End::Well => self.well += 1,
            End::Explained(why) => {
                self.explained += 1;
                self.last = why;
                self.last_begun = self.last_begun.max(Some(begun));
            }
            End::Broken(why) => {
                self.broken.get_or_insert(why);
            }
        }
    }
}

/// Attempts that go on until this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    counts: watch::Receiver<Counts>,
    _workers: JoinSet<()>,
}

impl Load {
    /// Begins, and waits until it works.
    pub(super) async fn begin<A, F>(attempt: A) -> Result<Self>
    where
        A: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = End> + Send + 'static,
    {
        let (told, counts) = watch::channel(Counts::default());
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (attempt, told) = (attempt.clone(), told.clone());
            workers.spawn(async move {
                loop {
                    let begun = Instant::now();
                    let end = timeout(DEADLINE, attempt()).await;
                    let end = end.unwrap_or_else(|_| {
                        End::Broken(format!("an attempt takes longer than {DEADLINE:?}"))
                    });
                    told.send_modify(|counts| counts.note(begun, end));
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        let load = Self {
            counts,
            _workers: workers,
        };
        load.until_well().await?;
        Ok(load)
    }

    /// Waits until something fails as it may.
    pub(super) async fn until_explained(&self) -> Result<()> {
        let before = self.counts.borrow().explained;
        self.until("fail", |counts| counts.explained > before).await
    }

    /// Waits until more attempts than were under way have ended well.
    pub(super) async fn until_well(&self) -> Result<()> {
        let before = self.counts.borrow().well;
        self.until("work", |counts| counts.well >= before + ENOUGH)
            .await
    }

    /// Waits until it works, and expects that nothing fails that is begun from then on.
    pub(super) async fn until_as_before(&self) -> Result<()> {
        self.until_well().await?;
        let well = Instant::now();
        for _ in 0..3 {
            self.until_well().await?;
        }
        let counts = self.counts.borrow();
        if counts.last_begun > Some(well) {
            bail!("it works again, and then: {}", counts.last);
        }
        Ok(())
    }

    /// How many have failed as they may.
    pub(super) fn explained(&self) -> usize {
        self.counts.borrow().explained
    }

    async fn until(&self, what: &str, is: impl Fn(&Counts) -> bool) -> Result<()> {
        let mut told = self.counts.clone();
        let done = told.wait_for(|counts| counts.broken.is_some() || is(counts));
        let Ok(counts) = timeout(WITHIN, done).await else {
            let last = &self.counts.borrow().last;
            bail!("attempts do not {what} within {WITHIN:?}: {last}");
        };
        match counts.context("the workers are gone")?.broken.clone() {
            Some(why) => bail!(why),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_fails_once_and_works_again_is_as_before() {
        let asked = Arc::new(AtomicUsize::new(0));
        let load = Load::begin(move || {
            let asked = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match asked {
                    20..30 => End::Explained("away".to_owned()),
                    _ => End::Well,
                }
            }
        })
        .await
        .unwrap();
        load.until_explained().await.unwrap();
        load.until_as_before().await.unwrap();
        assert_eq!(load.explained(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_or_ends_badly_is_told() {
        let hanging = Load::begin(std::future::pending).await.unwrap_err();
        assert!(hanging.to_string().contains("takes longer"), "{hanging}");
        let broken = Load::begin(async || End::Broken("odd".to_owned())).await;
        assert_eq!(broken.unwrap_err().to_string(), "odd");
    }
}
