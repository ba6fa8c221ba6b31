//! Cases that are driven from outside, where what matters is not what a component sees.
//!
//! The cases of one run go on side by side, each with links or components of its own.

pub(crate) mod config;
pub(crate) mod http_in;
pub(crate) mod http_out;
mod kit;
pub(crate) mod logging;
mod peer;
mod tls;
mod web;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;

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
    /// Fails where that does not hold.
    pub run: for<'a> fn(&'a Ground) -> LocalBoxFuture<'a, Result<()>>,
}

impl fmt::Debug for Driven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driven")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Makes a list of cases out of statements and functions.
macro_rules! cases {
    ($($name:literal => $function:path,)*) => {
        &[$($crate::driven::Driven {
            name: $name,
            run: |ground| Box::pin($function(ground)),
        },)*]
    };
}
use cases;

/// Runs the cases whose names contain `filter`.
pub(crate) async fn run(ground: &Ground, cases: &[Driven], filter: &str) -> Outcome {
    let chosen = cases.iter().filter(|case| case.name.contains(filter));
    let ran = futures::stream::iter(chosen.copied()).map(async |case| Case {
        name: case.name.to_owned(),
        verdict: verdict(ground, case).await,
    });
    Outcome {
        cases: ran.buffered(AT_ONCE).collect().await,
    }
}

async fn verdict(ground: &Ground, case: Driven) -> Verdict {
    match tokio::time::timeout(LONGEST, (case.run)(ground)).await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(error)) => Verdict::Failed(format!("{error:#}")),
        Err(_) => Verdict::Failed(format!("it takes longer than {LONGEST:?}")),
    }
}
