//! Cases that are driven from outside, where what matters is not what a component sees.
//!
//! The cases of one run go on side by side, each with links or components of its own; those that
//! strike something down go one after the other.

pub(crate) mod config;
pub(crate) mod http_in;
pub(crate) mod http_out;
mod kit;
mod load;
pub(crate) mod logging;
mod peer;
mod tls;
mod web;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;

use crate::fault::{Fault, Strike};
use crate::ground::Ground;
use crate::report::Outcome;
use crate::suite::{Case, Verdict};

/// How many cases go on at once.
const AT_ONCE: usize = 6;
/// How long one may take on a busy machine.
const LONGEST: Duration = Duration::from_secs(120);

/// A case that the driver runs itself.
#[derive(Clone, Copy)]
pub struct Driven {
    /// What it says, as a statement.
    pub name: &'static str,
    /// What befalls the backend in the runs that the case is for.
    pub faults: &'static [Fault],
    work: Work,
}

type Beside = for<'a> fn(&'a Ground) -> LocalBoxFuture<'a, Result<()>>;
type Alone = for<'a, 'b> fn(&'a mut Strike<'b>) -> LocalBoxFuture<'a, Result<()>>;

/// Fails where the statement does not hold.
#[derive(Clone, Copy)]
enum Work {
    Beside(Beside),
    /// By itself, since others would suffer from what it does to the ground.
    Alone(Alone),
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven")
            .field("name", &self.name)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Driven {
    /// One about something that no connection passes, or that tells nothing more of a slow one.
    const fn plain(name: &'static str, run: Beside) -> Self {
        Self {
            name,
            faults: &[Fault::None],
            work: Work::Beside(run),
        }
    }

    /// One that holds over slow connections too.
    const fn even_slow(name: &'static str, run: Beside) -> Self {
        Self {
            name,
            faults: &[Fault::None, Fault::Slow],
            work: Work::Beside(run),
        }
    }

    /// One that strikes down what stands behind the interface, and leaves it standing again.
    const fn killing(name: &'static str, run: Alone) -> Self {
        Self {
            name,
            faults: &[Fault::Killed],
            work: Work::Alone(run),
        }
    }
}

/// Makes a list of cases out of statements and functions, by their kinds: the constructors of
/// [`Driven`].
macro_rules! cases {
    ($($kind:ident { $($name:literal => $function:path,)* })*) => {
        &[$($($crate::driven::Driven::$kind(
            $name,
            |ground| Box::pin($function(ground)),
        ),)*)*]
    };
}
use cases;

/// Runs the cases that are for the fault of a run and whose names contain `filter`.
pub(crate) async fn run(strike: &mut Strike<'_>, cases: &[Driven], filter: &str) -> Outcome {
    let fault = strike.ground.fault;
    let is_chosen = |case: &&Driven| case.faults.contains(&fault) && case.name.contains(filter);
    let (mut beside, mut alone) = (Vec::new(), Vec::new());
    for case in cases.iter().filter(is_chosen) {
        match case.work {
            Work::Beside(run) => beside.push((case.name, run)),
            Work::Alone(run) => alone.push((case.name, run)),
        }
    }
    let ground = &*strike.ground;
    let ran = futures::stream::iter(beside)
        .map(async |(name, run): (&str, Beside)| judge(name, run(ground)).await);
    let mut cases: Vec<_> = ran.buffered(AT_ONCE).collect().await;
    for (name, run) in alone {
        cases.push(judge(name, run(strike)).await);
        if let Err(error) = strike.tidy().await {
            let verdict = Verdict::Failed(format!("what it struck down stays away: {error:#}"));
            cases.push(Case {
                name: name.to_owned(),
                verdict,
            });
        }
    }
    Outcome { cases }
}

async fn judge(name: &str, work: LocalBoxFuture<'_, Result<()>>) -> Case {
    let verdict = match tokio::time::timeout(LONGEST, work).await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(error)) => Verdict::Failed(format!("{error:#}")),
        Err(_) => Verdict::Failed(format!("it takes longer than {LONGEST:?}")),
    };
    Case {
        name: name.to_owned(),
        verdict,
    }
}
