//! Requests about the host itself.

use std::time::Duration;

use lattice_control::types::StopHostCommand;
use lattice_control::{Done, Outcome};

use super::HostApi;
use crate::host::{StopReason, StopRequest};

impl HostApi {
    /// Begins to stop. The first wish counts.
    pub(super) fn request_stop(&self, command: &StopHostCommand) -> Done {
        let request = StopRequest {
            reason: StopReason::Command,
            timeout: command.timeout.map(Duration::from_millis),
        };
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(request);
            first
        });
        Ok(Outcome::message("successfully handled stop host"))
    }
}
