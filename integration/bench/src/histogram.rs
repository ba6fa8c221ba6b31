//! Latencies in little room: exact to three per cent, one addition for each.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const BITS: u32 = 5;
/// Buckets in all: up to half an hour.
const BUCKETS: usize = 37 << BITS;

/// How often which latency was seen.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos).min(BUCKETS - 1)] += 1;
        self.total += 1;
    }

    /// Adds what another one has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, other) in self.counts.iter_mut().zip(&other.counts) {
            *own += other;
        }
        self.total += other.total;
    }

    /// Microseconds that `share` of the latencies do not exceed, or nothing without latencies.
    pub(crate) fn percentile(&self, share: f64) -> Option<f64> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (seen >= rank).then(|| end(bucket) as f64 / 1000.0)
        })
    }
}

/// Where a number of nanoseconds is counted: below 2^BITS for itself, above it by its highest bits.
fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// The highest number that is counted in a bucket.
fn end(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    let high = (bucket - (shift << BITS)) as u64;
    ((high + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_lies_in_its_bucket() {
        for nanos in (0..100_000).chain([1 << 20, (1 << 33) + 12_345, 1 << 40]) {
            let bucket = bucket(nanos);
            assert!(nanos <= end(bucket), "{nanos} above bucket {bucket}");
            assert!(
                bucket == 0 || nanos > end(bucket - 1),
                "{nanos} below {bucket}"
            );
        }
    }

    #[test]
    fn percentiles_are_exact_to_three_per_cent() {
        let mut histogram = Histogram::default();
        (1..=10_000).for_each(|us| histogram.record(Duration::from_micros(us)));
        for (share, us) in [(0.5, 5000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
            let got = histogram.percentile(share).unwrap();
            assert!((us..us * 1.035).contains(&got), "{share}: {got}");
        }
    }

    #[test]
    fn merged_histograms_count_both() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_micros(10));
        other.record(Duration::from_secs(100_000));
        one.merge(&other);
        assert!(one.percentile(0.5).unwrap() < 10.5);
        assert!(one.percentile(1.0).unwrap() > 1_000_000.0);
    }

    #[test]
    fn without_latencies_there_is_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.99), None);
    }
}
