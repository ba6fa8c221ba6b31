//! The line that a host writes to standard input.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use lattice_core::provider::{HostData, HostDataError, MAX_HOST_DATA_LINE};

/// Why there is no host data.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("standard input is a terminal, but host data is expected there")]
    Terminal,
    #[error("could not read standard input")]
    Read(#[source] std::io::Error),
    #[error("could not read host data")]
    Data(#[source] HostDataError),
}

impl InputError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        Some("a provider is started by a host: `wash start provider FILE ID`")
    }
}

/// Reads one line. The limit is checked before the line is in memory.
pub(super) fn read() -> Result<HostData, InputError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(InputError::Terminal);
    }
    let mut line = Vec::new();
    let limit = MAX_HOST_DATA_LINE as u64 + 3;
    input
        .lock()
        .take(limit)
        .read_until(b'\n', &mut line)
        .map_err(InputError::Read)?;
    HostData::from_line(&line).map_err(InputError::Data)
}
