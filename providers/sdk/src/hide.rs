//! Keeps the memory of this process out of files.

use std::sync::Once;

static HIDDEN: Once = Once::new();

/// From now on a crash of this process writes no core, and no other process of the same user can
/// read its memory. A program that is a provider begins with it; whoever runs providers inside another
/// program comes to it with their first secret.
pub(crate) fn hide_memory() {
    HIDDEN.call_once(|| {
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{DumpableBehavior, set_dumpable_behavior};
            if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
                tracing::warn!(%error, "secrets may get into a core dump of this process");
            }
        }
    });
}
