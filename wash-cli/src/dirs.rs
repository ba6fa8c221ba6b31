//! Where `wash` keeps things: XDG folders, each with an override.

use std::path::PathBuf;

use crate::error::{CliError, Code, Result};

fn from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// `{$XDG or ~/fallback}/wash`; XDG says that relative values are ignored.
fn xdg(variable: &str, fallback: &str) -> Result<PathBuf> {
    let base = from_env(variable).filter(|path| path.is_absolute());
    let base = match base {
        Some(base) => base,
        None => home()?.join(fallback),
    };
    Ok(base.join("wash"))
}

fn home() -> Result<PathBuf> {
    std::env::home_dir()
        .filter(|path| !path.as_os_str().is_empty())
        .ok_or_else(|| {
            CliError::new(Code::Io, "could not find the home folder")
                .hint("set HOME, or WASH_CONFIG_DIR and WASH_DATA_DIR")
        })
}

/// Configuration, shared with a 1.x install.
pub(crate) fn config() -> Result<PathBuf> {
    from_env("WASH_CONFIG_DIR").map_or_else(|| xdg("XDG_CONFIG_HOME", ".config"), Ok)
}

/// Contexts, shared with a 1.x install. Both names of the variable work.
pub(crate) fn contexts() -> Result<PathBuf> {
    match from_env("WASH_CONTEXT_DIR").or_else(|| from_env("WASH_CONTEXTS")) {
        Some(path) => Ok(path),
        None => Ok(config()?.join("contexts")),
    }
}

/// Data: what `wash up` keeps, unpacked binaries.
pub(crate) fn data() -> Result<PathBuf> {
    from_env("WASH_DATA_DIR").map_or_else(|| xdg("XDG_DATA_HOME", ".local/share"), Ok)
}

/// Keys that sign, shared with a 1.x install.
pub(crate) fn keys() -> Result<PathBuf> {
    from_env("WASH_KEYS_DIR").map_or_else(|| Ok(data()?.join("keys")), Ok)
}

/// Where 1.x has the keys of projects, unless others are named. No keys are made there.
pub(crate) fn keys_of_1x() -> Option<PathBuf> {
    Some(home().ok()?.join(".wash").join("keys"))
}

/// Whether a variable says where keys are kept. 1.x does not ask it for those of projects.
pub(crate) fn are_keys_elsewhere() -> bool {
    from_env("WASH_KEYS_DIR").is_some()
}

/// One folder per lattice that `wash up` runs on this machine.
pub(crate) fn lattices() -> Result<PathBuf> {
    Ok(data()?.join("lattices"))
}

/// Binaries of our own, such as an unpacked nats-server.
pub(crate) fn binaries() -> Result<PathBuf> {
    Ok(data()?.join("bin"))
}
