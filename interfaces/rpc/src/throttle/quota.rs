//! What is taken of one who may cause as much as they like.

use std::mem::take;

use tokio::time::Instant;

use super::THROTTLE_WINDOW;

/// How many were taken since when.
#[derive(Debug)]
pub struct Quota {
    since: Instant,
    taken: u32,
}

impl Default for Quota {
    fn default() -> Self {
        let since = Instant::now();
        Self { since, taken: 0 }
    }
}

impl Quota {
    /// Whether one more is taken, of which there may be so many in a second.
    pub fn takes(&mut self, most: u32) -> bool {
        if self.since.elapsed() >= THROTTLE_WINDOW {
            *self = Self::default();
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= most
    }
}

/// The quota of what is told, with the number of what is not.
#[derive(Debug, Default)]
pub(crate) struct ToldQuota {
    quota: Quota,
    untold: u64,
}

impl ToldQuota {
    /// How many were not told since the last one, if this one is to be told, of which there may be so many
    /// in a second.
    pub(crate) fn turn(&mut self, most: u32) -> Option<u64> {
        if self.quota.takes(most) {
            return Some(take(&mut self.untold));
        }
        self.untold = self.untold.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_told_in_a_second_is_counted_with_the_next() {
        let mut quota = ToldQuota::default();
        let turns: Vec<_> = (0..5).map(|_| quota.turn(2)).collect();
        assert_eq!(turns, [Some(0), Some(0), None, None, None]);
        tokio::time::advance(THROTTLE_WINDOW).await;
        assert_eq!([quota.turn(2), quota.turn(2)], [Some(3), Some(0)]);
    }
}
