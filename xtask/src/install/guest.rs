//! The compiler for guests: rustup's where its server answers, else one put together from Debian packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{apt, cached, cargo_install, link, on_path};
use crate::shell;
use crate::versions::{
    GUEST_APT_PACKAGES, GUEST_DEBIAN, GUEST_TARGET, WASI_LIBC_SUITE, WASM_COMPONENT_LD, WASM_LD,
};
use crate::workspace::{Workspace, path_with};

/// Longest time for rustup to add a target: it retries for long when its server is out of reach.
const RUSTUP_LIMIT: Duration = Duration::from_secs(240);

/// Set to `debian` to pass over rustup, for instance to test the other way.
const CHOICE: &str = "LATTICE_GUEST_TOOLCHAIN";

/// File that a finished Debian toolchain has.
const PROOF: &str = "ready";

/// How guests are compiled on this machine.
#[derive(Debug)]
pub(crate) enum GuestToolchain {
    /// The Rust toolchain of this repository has the target.
    Native,
    /// A compiler of Debian with its standard library built from source; the folder has linker and libc.
    Debian(PathBuf),
}

impl GuestToolchain {
    /// Finds the toolchain or installs it.
    pub(crate) fn ensure(workspace: &Workspace) -> Result<Self> {
        if !debian_wanted() && target_installed(workspace) {
            return Ok(Self::Native);
        }
        let tools = workspace.tools().join("wasip2");
        if tools.join(PROOF).exists() && apt::installed(&GUEST_APT_PACKAGES) {
            return Ok(Self::Debian(tools));
        }
        shell::heading(&format!("Rust target {GUEST_TARGET}"));
        if !debian_wanted() && add_target(workspace) {
            shell::note("added by rustup");
            return Ok(Self::Native);
        }
        let root = install_debian(workspace).context(format!(
            "no toolchain for guests; run `rustup target add {GUEST_TARGET}` where its server can be reached"
        ))?;
        link(&root, &tools)?;
        shell::note(&format!("ready: {}", tools.display()));
        Ok(Self::Debian(tools))
    }

    /// Prepares a `cargo build` for the guest target.
    pub(crate) fn apply(&self, command: &mut Command) -> Result<()> {
        command.args(["--target", GUEST_TARGET]);
        let Self::Debian(root) = self else {
            return Ok(());
        };
        let libc = root.join("libc/usr/lib").join(GUEST_TARGET);
        command
            .env("PATH", path_with(&root.join("bin"))?)
            .env("RUSTC", "/usr/bin/rustc")
            // The way to build std is not stable yet; Debian's compiler is a stable one.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort")
            .env(
                "CARGO_TARGET_WASM32_WASIP2_LINKER",
                root.join("bin/wasm-component-ld"),
            )
            .env("CARGO_ENCODED_RUSTFLAGS", encoded_flags(&libc));
        Ok(())
    }
}

/// The compiler's flags in the form whose separator is no blank, since the path may have one.
fn encoded_flags(libc: &Path) -> String {
    let libc = libc.display();
    let native = format!("native={libc}");
    let search = format!("link-arg=-L{libc}");
    let flags = ["-C", "link-self-contained=no", "-L", &native, "-C", &search];
    flags.join("\x1f")
}

fn debian_wanted() -> bool {
    std::env::var_os(CHOICE).is_some_and(|value| value == "debian")
}

/// Whether the toolchain in use has the standard library of the target, wherever it came from.
fn target_installed(workspace: &Workspace) -> bool {
    let mut command = Command::new("rustc");
    command
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .current_dir(workspace.root());
    let Some(libraries) = shell::query(&mut command) else {
        return false;
    };
    std::fs::read_dir(libraries).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    })
}

fn add_target(workspace: &Workspace) -> bool {
    if on_path("rustup").is_none() {
        return false;
    }
    shell::note("asking rustup");
    let mut command = Command::new("rustup");
    command
        .args(["target", "add", GUEST_TARGET])
        .current_dir(workspace.root());
    // Some mirrors have the compiler but not every target, so success alone proves nothing.
    match shell::quiet(&mut command, RUSTUP_LIMIT) {
        Ok(()) => target_installed(workspace),
        Err(error) => {
            shell::note(&format!("rustup could not: {error}"));
            false
        }
    }
}

fn install_debian(workspace: &Workspace) -> Result<PathBuf> {
    let [release, codename] = GUEST_DEBIAN;
    ensure!(
        apt::release().is_ok_and(|found| found.as_deref() == Some(codename)),
        "a compiler for components is put together from Debian packages on {release} only"
    );
    shell::note("putting it together from Debian packages");
    apt::install(&GUEST_APT_PACKAGES)?;
    let name = format!("wasip2-{WASI_LIBC_SUITE}-{WASM_COMPONENT_LD}");
    cached(workspace, &name, PROOF, |dir| {
        apt::unpack_from(WASI_LIBC_SUITE, "wasi-libc", &dir.join("libc"))?;
        let libc = dir.join("libc/usr/lib").join(GUEST_TARGET);
        ensure!(
            libc.is_dir(),
            "Debian's wasi-libc has no folder for {GUEST_TARGET}"
        );
        // The Rust driver looks for its linker under these names.
        for name in ["rust-lld", "wasm-ld"] {
            link(Path::new(WASM_LD), &dir.join("bin").join(name))?;
        }
        component_linker(workspace, dir)?;
        std::fs::write(dir.join(PROOF), "").context("could not finish the toolchain")
    })
}

/// Puts `wasm-component-ld` into `dir/bin`: the one that the Rust toolchain brings, else a built one.
fn component_linker(workspace: &Workspace, dir: &Path) -> Result<()> {
    let mut command = Command::new("rustc");
    command
        .args(["--print", "target-libdir"])
        .current_dir(workspace.root());
    let brought = shell::query(&mut command)
        .and_then(|libraries| {
            Some(
                Path::new(&libraries)
                    .parent()?
                    .join("bin/wasm-component-ld"),
            )
        })
        .filter(|program| program.is_file());
    if let Some(program) = brought {
        std::fs::copy(&program, dir.join("bin/wasm-component-ld"))
            .with_context(|| format!("could not copy `{}`", program.display()))?;
        return Ok(());
    }
    shell::note("building wasm-component-ld from source, once per machine");
    cargo_install("wasm-component-ld", WASM_COMPONENT_LD, dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_bear_a_folder_with_a_blank_in_its_name() {
        let flags = encoded_flags(Path::new("/home/a b/libc"));
        let flags: Vec<&str> = flags.split('\x1f').collect();
        let expected = [
            "-C",
            "link-self-contained=no",
            "-L",
            "native=/home/a b/libc",
            "-C",
            "link-arg=-L/home/a b/libc",
        ];
        assert_eq!(flags, expected);
    }
}
