//! A `wash` that carries a nats-server: one file that runs a whole lattice. `cargo xtask test` builds
//! it so.

#![cfg(feature = "embed-nats")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// `wash` on a machine that has nothing else.
struct Alone {
    /// Beside the programs, so that a link is enough, and not where a build looks for its tools.
    folder: TempDir,
    home: TempDir,
    port: u16,
}

impl Alone {
    fn new() -> Self {
        let built = Path::new(env!("CARGO_BIN_EXE_wash"));
        let folder = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
        std::fs::hard_link(built, folder.path().join("wash")).unwrap();
        std::fs::create_dir(folder.path().join("path")).unwrap();
        Self {
            folder,
            home: tempfile::tempdir().unwrap(),
            port: lattice_nats_box::free_port().unwrap(),
        }
    }

    fn wash(&self, line: &str) -> Command {
        let mut command = Command::new(self.folder.path().join("wash"));
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("PATH", self.on_path())
            .env("HOME", self.home.path())
            .env("WASMCLOUD_NATS_PORT", self.port.to_string())
            .current_dir(self.home.path());
        command
    }

    fn json(&self, line: &str) -> Value {
        let output = self.wash(&format!("{line} -o json")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A folder that is empty unless a test puts something there.
    fn on_path(&self) -> PathBuf {
        self.folder.path().join("path")
    }

    fn binaries(&self) -> PathBuf {
        self.home.path().join(".local/share/wash/bin")
    }

    fn unpacked(&self) -> PathBuf {
        self.binaries().join("embedded/nats-server")
    }

    /// Starts a lattice, ends it again, and gives the program that its server ran.
    fn server_of_up(&self) -> PathBuf {
        let up = self.json("up -d");
        assert_eq!(up["nats_started"], true, "{up}");
        let status = self.json("status");
        let lattice = &status["lattices"][0];
        assert_eq!(lattice["healthy"], true, "{status}");
        let program = std::fs::read_link(format!("/proc/{}/exe", lattice["nats"]["pid"])).unwrap();
        let down = self.json("down");
        assert_eq!(down["nats_stopped"], true, "{down}");
        program
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // What is left of a failed test; there is nobody to tell.
        let _ = self.wash("down").output();
    }
}

#[test]
fn a_lattice_runs_where_nothing_is_but_wash() {
    let alone = Alone::new();
    let unpacked = alone.unpacked();
    assert_eq!(alone.server_of_up(), unpacked.canonicalize().unwrap());
    let carried = std::fs::read(&unpacked).unwrap();
    // One that somebody has changed is not run.
    std::fs::write(&unpacked, "another").unwrap();
    assert_eq!(alone.server_of_up(), unpacked.canonicalize().unwrap());
    assert!(std::fs::read(&unpacked).unwrap() == carried);
}

#[test]
fn a_server_that_lies_on_the_machine_goes_before_the_one_inside() {
    let server = lattice_nats_box::find_server()
        .unwrap()
        .canonicalize()
        .unwrap();
    for is_on_path in [true, false] {
        let alone = Alone::new();
        let folder = if is_on_path {
            alone.on_path()
        } else {
            std::fs::create_dir_all(alone.binaries()).unwrap();
            alone.binaries()
        };
        symlink(&server, folder.join("nats-server")).unwrap();
        assert_eq!(alone.server_of_up(), server, "on PATH: {is_on_path}");
        assert!(!alone.unpacked().exists(), "on PATH: {is_on_path}");
    }
}
