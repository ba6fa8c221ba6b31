//! Who may depend on whom.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{Problem, source};

/// The crates of the lattice and the crates of the lattice that each may use.
const ALLOWED: [(&str, &[&str]); 20] = [
    ("lattice-core", &[]),
    ("lattice-claims", &["lattice-core"]),
    ("lattice-codec", &["lattice-core"]),
    ("lattice-nats", &["lattice-core"]),
    (
        "lattice-rpc",
        &["lattice-core", "lattice-claims", "lattice-codec"],
    ),
    ("lattice-telemetry", &["lattice-core"]),
    ("lattice-control", &["lattice-core", "lattice-rpc"]),
    (
        "lattice-store",
        &[
            "lattice-core",
            "lattice-nats",
            "lattice-rpc",
            "lattice-control",
        ],
    ),
    (
        "lattice-secrets",
        &[
            "lattice-core",
            "lattice-claims",
            "lattice-nats",
            "lattice-rpc",
        ],
    ),
    (
        "lattice-runtime",
        &["lattice-core", "lattice-claims", "lattice-codec"],
    ),
    (
        "lattice-host",
        &[
            "lattice-core",
            "lattice-claims",
            "lattice-codec",
            "lattice-nats",
            "lattice-rpc",
            "lattice-control",
            "lattice-secrets",
            "lattice-store",
            "lattice-runtime",
            "lattice-telemetry",
        ],
    ),
    (
        "lattice-provider-sdk",
        &[
            "lattice-core",
            "lattice-codec",
            "lattice-nats",
            "lattice-rpc",
            "lattice-telemetry",
        ],
    ),
    (
        "lattice-host-program",
        &[
            "lattice-rpc",
            "lattice-host",
            "lattice-provider-sdk",
            // And every provider: see `HOLDER`.
        ],
    ),
    ("lattice-backend-http", &["lattice-core"]),
    ("lattice-azure", BACKEND),
    ("lattice-etcd", BACKEND),
    ("lattice-postgres", BACKEND),
    ("lattice-rabbitmq", BACKEND),
    (
        "wash",
        &[
            "lattice-core",
            "lattice-claims",
            "lattice-codec",
            "lattice-nats",
            "lattice-rpc",
            "lattice-control",
            "lattice-host",
            "lattice-host-program",
            "lattice-secrets",
        ],
    ),
    ("xtask", &[]),
];

/// What the clients of backends that several providers share may use.
const BACKEND: &[&str] = &[
    "lattice-core",
    "lattice-provider-sdk",
    "lattice-backend-http",
];

/// What a provider may use: every crate in [`PROVIDERS`] that has no row above.
const PROVIDER: &[&str] = &[
    "lattice-core",
    "lattice-codec",
    "lattice-rpc",
    "lattice-provider-sdk",
    "lattice-nats",
    "lattice-backend-http",
    "lattice-azure",
    "lattice-etcd",
    "lattice-postgres",
    "lattice-rabbitmq",
];

/// Where the providers are, and those of examples.
const PROVIDERS: [&str; 2] = ["providers", "examples"];

/// The crate that puts providers into a program.
const HOLDER: &str = "lattice-host-program";

/// Crates of others that stay behind the crates named here.
const WRAPPED: [(&str, &[&str]); 2] = [
    ("wasmtime", &["lattice-runtime"]),
    (
        "async-nats",
        &[
            "lattice-nats",
            "lattice-rpc",
            "lattice-control",
            "lattice-secrets",
            "lattice-store",
            "lattice-provider-sdk",
            "lattice-host",
            // It makes the connection that the control client then uses.
            "wash",
        ],
    ),
];

/// Crates that test the others and may use all of them.
const TESTING_FOLDER: &str = "integration";

pub(super) fn check(root: &Path) -> Result<Vec<Problem>> {
    let packages = source::packages_of(&root.join("Cargo.toml"))?;
    Ok(packages
        .iter()
        .filter(|package| !manifest(package).starts_with(root.join(TESTING_FOLDER)))
        .flat_map(|package| check_package(root, package))
        .collect())
}

fn manifest(package: &Value) -> PathBuf {
    PathBuf::from(package["manifest_path"].as_str().unwrap_or_default())
}

/// Whether a manifest is that of a provider, or of something else in their folders.
fn is_of_providers(root: &Path, manifest: &Path) -> bool {
    PROVIDERS
        .iter()
        .any(|folder| manifest.starts_with(root.join(folder)))
}

fn check_package(root: &Path, package: &Value) -> Vec<Problem> {
    let name = package["name"].as_str().unwrap_or_default();
    let file = manifest(package);
    let table: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let row = table.get(name).copied();
    let row = row.or_else(|| is_of_providers(root, &file).then_some(PROVIDER));
    let Some(allowed) = row else {
        let text = format!("`{name}` has no row in the table of xtask's `tidy/arrows.rs`");
        return vec![Problem::file(&file, text)];
    };
    dependencies(package)
        .filter(|dependency| {
            let path = dependency["path"].as_str().unwrap_or_default();
            name != HOLDER || !is_of_providers(root, Path::new(path))
        })
        .filter_map(|dependency| refuse(name, allowed, dependency))
        .map(|text| Problem::file(&file, text))
        .collect()
}

/// Names of what the package itself needs; its tests may need more.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    let all = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    all.iter()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
}

/// Why `name` may not use `dependency`.
fn refuse(name: &str, allowed: &[&str], dependency: &Value) -> Option<String> {
    let wanted = dependency["name"].as_str()?;
    let is_ours = dependency["path"].is_string();
    if is_ours && !allowed.contains(&wanted) {
        return Some(format!("`{name}` may not depend on `{wanted}`"));
    }
    if wanted.starts_with(concat!("wasm", "cloud")) {
        return Some(format!(
            "`{name}` may not depend on `{wanted}`: what it knows is on the wire"
        ));
    }
    let (wrapped, users) = WRAPPED
        .iter()
        .find(|(krate, _)| wanted == *krate || wanted.starts_with(&format!("{krate}-")))?;
    // A provider whose backend is NATS is named for it.
    let is_for_it = name.ends_with("-nats") && *wrapped == "async-nats";
    (!users.contains(&name) && !is_for_it).then(|| {
        format!(
            "`{name}` may not depend on `{wanted}`; `{wrapped}` stays behind {}",
            users.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(name: &str, dependencies: Value) -> Vec<String> {
        let package =
            json!({"name": name, "manifest_path": "/x/Cargo.toml", "dependencies": dependencies});
        check_package(Path::new("/x"), &package)
            .into_iter()
            .map(|problem| problem.text)
            .collect()
    }

    #[test]
    fn arrow_that_turns_round_is_found() {
        let found = problems(
            "lattice-core",
            json!([{"name": "lattice-rpc", "path": "/x", "kind": null}]),
        );
        assert_eq!(found, ["`lattice-core` may not depend on `lattice-rpc`"]);
    }

    #[test]
    fn engine_stays_in_the_runtime() {
        let wasmtime = json!([{"name": "wasmtime-wasi", "path": null, "kind": null}]);
        assert_eq!(problems("lattice-host", wasmtime.clone()).len(), 1);
        assert!(problems("lattice-runtime", wasmtime).is_empty());
    }

    #[test]
    fn tests_of_a_crate_may_use_more() {
        let dev = json!([{"name": "async-nats", "path": null, "kind": "dev"}]);
        assert!(problems("lattice-core", dev).is_empty());
    }

    #[test]
    fn new_crate_needs_a_row() {
        assert_eq!(problems("lattice-new", json!([])).len(), 1);
    }

    #[test]
    fn a_provider_needs_none_and_keeps_to_itself() {
        let check = |name: &str, wanted: &str| {
            let package = json!({
                "name": name,
                "manifest_path": format!("/x/providers/{name}/Cargo.toml"),
                "dependencies": [{"name": wanted, "path": format!("/x/providers/{wanted}")}],
            });
            check_package(Path::new("/x"), &package).len()
        };
        assert_eq!(check("queue-new", "lattice-provider-sdk"), 0);
        assert_eq!(check("queue-new", "queue-other"), 1);
        assert_eq!(check("lattice-host-program", "queue-other"), 0);
    }
}
