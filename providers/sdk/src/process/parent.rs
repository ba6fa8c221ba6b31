//! Watches the process that started this one.

use std::time::Duration;

/// How often the parent is looked at. The system would tell of its end at once, but only through
/// calls that are unsafe in Rust or bound to the thread that started this process.
const POLL: Duration = Duration::from_millis(250);

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent(u32);

/// The parent as it is now; `None` when it has ended already or the system knows none.
pub(super) fn current() -> Option<Parent> {
    parent_id().filter(|id| *id > 1).map(Parent)
}

#[cfg(unix)]
fn parent_id() -> Option<u32> {
    Some(std::os::unix::process::parent_id())
}

#[cfg(not(unix))]
fn parent_id() -> Option<u32> {
    None
}

impl Parent {
    /// Resolves when the process has ended, which gives this one another parent.
    pub(super) async fn gone(self) {
        while parent_id() == Some(self.0) {
            tokio::time::sleep(POLL).await;
        }
    }
}
