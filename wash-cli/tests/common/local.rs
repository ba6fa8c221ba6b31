//! Lattices that `wash up` runs on this machine.

use serde_json::Value;

use super::{Home, Outcome, free_port};

/// Stops whatever a test leaves running, also when it fails.
pub struct Local {
    pub home: Home,
    pub port: u16,
}

impl Local {
    pub fn new() -> Self {
        let port = free_port();
        let home = Home::new().with("LATTICE_NATS_SERVER", nats_server());
        Self { home, port }
    }

    pub fn up(&self, more: &str) -> Outcome {
        self.home
            .wash(&format!("up -d --nats-port {} -o json {more}", self.port))
    }

    pub fn status(&self) -> Value {
        self.home.wash("status -o json").json()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let lattices = self.home.path().join(".local/share/wash/lattices");
        for lattice in std::fs::read_dir(lattices).into_iter().flatten().flatten() {
            let name = lattice.file_name();
            self.home.wash(&format!("down -x {}", name.display()));
        }
    }
}

fn nats_server() -> String {
    lattice_nats_box::find_server()
        .unwrap()
        .display()
        .to_string()
}

/// Whether a process runs; one that nobody has reaped yet does not.
pub fn alive(pid: &Value) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap()
            .trim_start()
            .starts_with('Z')
    })
}
