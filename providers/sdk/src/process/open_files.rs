//! How many files and sockets this process may have open at once.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most that is asked for. Programs that this one starts have the same limit, and some of them go
/// through all the files that they may have.
const ENOUGH: u64 = 65_536;

/// Lets this process have as many files and sockets open as the system allows it without anybody's
/// leave, and a server needs: what it may have at first is often no more than 1024.
///
/// For the start of a program, as it holds for all that is in the process.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |most| most.min(ENOUGH));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many files and sockets this process may have open at once.
#[must_use]
pub fn file_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether something failed because this process, or the system, has no room for another open file.
#[must_use]
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|known| code == Some(known.raw_os_error()))
}
