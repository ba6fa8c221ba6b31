//! A RabbitMQ that has run out of memory. Shared by the tests of the providers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_services::Service;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

/// Has the server take messages until it has that share of the memory of the machine.
pub(crate) async fn set_memory(server: &Service, folder: &Path, share: &str) {
    let [port, _, names] = server.ports() else {
        panic!("RabbitMQ has three ports");
    };
    let node = format!("lattice-{port}@localhost");
    let asked = Command::new(rabbitmqctl())
        .args(["-n", &node, "set_vm_memory_high_watermark", share])
        .env("ERL_EPMD_PORT", names.to_string())
        // Where the cookie of the server is.
        .env("HOME", folder)
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("no-such-file"))
        .kill_on_drop(true)
        .output();
    let told = tokio::time::timeout(PATIENCE, asked).await;
    let told = told.unwrap().unwrap();
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{}: {error}", told.status);
}

/// That in the search path changes its user; that of the server's version does not.
fn rabbitmqctl() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/rabbitmq/lib").unwrap();
    let programs = versions.map(|version| version.unwrap().path().join("sbin/rabbitmqctl"));
    let mut programs: Vec<_> = programs.filter(|program| program.is_file()).collect();
    programs.sort();
    programs.pop().unwrap()
}
