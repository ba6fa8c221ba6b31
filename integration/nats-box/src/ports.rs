//! Ports for servers that have to be told theirs.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Below those that the system gives to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The ports of this process. The locks go with it.
static OURS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of the loopback address at which nobody listens, and which no other test gets that
/// asks here while this process lives.
///
/// # Errors
///
/// Fails when there is none, or when the folder for temporary files cannot be written.
pub fn free_port() -> io::Result<u16> {
    let folder = std::env::temp_dir().join("lattice-test-ports");
    std::fs::create_dir_all(&folder)?;
    let count = u32::from(PORTS.end - PORTS.start);
    // Processes that start together begin far from one another.
    let first = std::process::id().wrapping_mul(97) % count;
    for step in 0..count {
        let port = PORTS.start + ((first + step) % count) as u16;
        let lock = File::create(folder.join(port.to_string()))?;
        if lock.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            continue;
        }
        let mut ours = OURS
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        ours.push(lock);
        return Ok(port);
    }
    Err(io::Error::other("all ports for tests are taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let first = free_port().unwrap();
        let second = free_port().unwrap();
        assert_ne!(first, second);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, first)).is_ok());
    }
}
