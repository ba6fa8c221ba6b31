//! Measures in interleaved rounds: what they are compared with meets the same machine.

use std::time::Duration;

use anyhow::Result;

use crate::bed::Bed;
use crate::report::Report;
use crate::selection::Selection;
use crate::{meter, wasmtime_serve};

/// How long each measure runs before the first round.
const WARM_UP: Duration = Duration::from_millis(500);

/// Takes all measures that are chosen and adds the medians.
pub(crate) async fn run(
    report: &mut Report,
    rounds: usize,
    time: Duration,
    selection: &Selection,
) -> Result<()> {
    let measures = selection.in_rounds();
    if selection.lacks_wasmtime() {
        report.notes.push(wasmtime_serve::HOW_TO_GET_IT.to_owned());
    }
    if measures.is_empty() {
        return Ok(());
    }
    let bed = Bed::start(&measures).await?;
    for measure in &measures {
        bed.sample(measure, WARM_UP.min(time)).await?;
    }
    let mut samples = vec![Vec::new(); measures.len()];
    for _ in 0..rounds {
        for (measure, samples) in measures.iter().zip(&mut samples) {
            samples.push(bed.sample(measure, time).await?);
        }
    }
    for (measure, samples) in measures.iter().zip(&samples) {
        let figure = if measure.work.is_time() {
            meter::cpu_per_call(measure.name, samples)
        } else {
            meter::throughput(measure.name, samples)
        };
        report.add_against(figure, measure.of);
    }
    Ok(())
}
