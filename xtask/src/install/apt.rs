//! Debian packages: installed on the machine where that is needed, else only unpacked.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{DOWNLOAD_LIMIT, on_path};
use crate::shell;

/// Our own lists and cache of apt, below where a package is unpacked.
const OWN: &str = ".apt";

/// Whether this machine has Debian's package tools.
pub(crate) fn available() -> bool {
    on_path("apt-get").is_some() && on_path("dpkg").is_some()
}

/// Whether all `packages` are installed.
pub(crate) fn installed(packages: &[&str]) -> bool {
    packages.iter().all(|package| {
        let mut command = Command::new("dpkg-query");
        command.args(["--show", "--showformat=${db:Status-Status}", package]);
        shell::query(&mut command).as_deref() == Some("installed")
    })
}

/// Installs `packages` from fresh package lists; nothing already on the machine is removed for them.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if installed(packages) {
        return Ok(());
    }
    let wanted = packages.join(" ");
    let mend = format!(
        "could not install `{wanted}`; as root, run: apt-get update && apt-get install --no-install-recommends {wanted}"
    );
    if !available() {
        bail!("{mend}, or install what your system calls it");
    }
    run_install(packages).context(mend)
}

fn run_install(packages: &[&str]) -> Result<()> {
    shell::note("refreshing package lists");
    let mut update = as_root("apt-get", &["update", "--quiet"])?;
    // Lists that cannot be refreshed may still be good enough: the install decides.
    if let Err(error) = shell::quiet(&mut update, DOWNLOAD_LIMIT) {
        shell::note(&format!("package lists stay as they are: {error}"));
    }
    shell::note(&format!("installing {}", packages.join(" ")));
    let options = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    let mut install = as_root("apt-get", &options)?;
    // One that is killed leaves packages half installed, and dpkg refuses all others after that.
    shell::quiet_to_the_end(install.args(packages), DOWNLOAD_LIMIT)
}

/// A program with the rights of root: as this user if root, else through `sudo` without a question.
pub(super) fn as_root(program: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = if shell::is_root() {
        Command::new(program)
    } else if on_path("sudo").is_some() {
        let mut command = Command::new("sudo");
        command
            .args(["--non-interactive", "DEBIAN_FRONTEND=noninteractive"])
            .args(proxies(|name| env::var(name).ok()))
            .arg(program);
        command
    } else {
        bail!(
            "`{program} {}` needs root, and there is no `sudo`",
            arguments.join(" ")
        );
    };
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

/// What apt reads of proxies, as `NAME=value`: `sudo` passes no variable on that it is not told of.
fn proxies(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    ["http_proxy", "https_proxy", "no_proxy"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}={}", variable(name)?)))
        .collect()
}

/// Fetches `package` and unpacks it into `destination`; the machine's packages stay as they are.
pub(crate) fn unpack(package: &str, destination: &Path) -> Result<()> {
    unpack_with(package, destination, &[]).or_else(|error| {
        if !available() {
            return Err(error);
        }
        // A new machine, or an image that was made small, has no package lists.
        shell::note(&format!("not by this machine's package lists: {error:#}"));
        unpack_by_own_lists("this machine's sources", package, destination, Vec::new())
    })
}

/// Like [`unpack`], but takes the package from the Debian release `suite`.
///
/// Uses the machine's own sources with another release name, lists and cache of its own, and so
/// leaves the machine's apt settings alone.
pub(crate) fn unpack_from(suite: &str, package: &str, destination: &Path) -> Result<()> {
    let sources = own_folder(destination, "sources")?;
    write_sources(suite, &sources)?;
    let options = vec![
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        format!("Dir::Etc::sourceparts={}", sources.display()),
    ];
    unpack_by_own_lists(&format!("Debian {suite}"), package, destination, options)
}

/// Reads package lists into a folder of our own, which needs no root, and unpacks by them.
fn unpack_by_own_lists(
    whose: &str,
    package: &str,
    destination: &Path,
    mut options: Vec<String>,
) -> Result<()> {
    let lists = own_folder(destination, "lists")?;
    let cache = own_folder(destination, "cache")?;
    options.push(format!("Dir::State::lists={}", lists.display()));
    options.push(format!("Dir::Cache={}", cache.display()));
    shell::note(&format!("reading the package lists of {whose}"));
    let mut update = Command::new("apt-get");
    update.args(["update", "--quiet"]);
    shell::quiet(with_options(&mut update, &options), DOWNLOAD_LIMIT)
        .with_context(|| format!("could not read the package lists of {whose}"))?;
    unpack_with(package, destination, &options)?;
    super::remove(&destination.join(OWN))
}

/// A folder of our own for apt, below `destination`.
fn own_folder(destination: &Path, name: &str) -> Result<PathBuf> {
    let path = destination.join(OWN).join(name);
    fs::create_dir_all(path.join("partial"))
        .with_context(|| format!("could not create `{}`", path.display()))?;
    Ok(path)
}

fn unpack_with(package: &str, destination: &Path, options: &[String]) -> Result<()> {
    let debs = destination.join(".debs");
    // What an earlier try has left.
    super::remove(&debs)?;
    fs::create_dir_all(&debs).with_context(|| format!("could not create `{}`", debs.display()))?;
    shell::note(&format!("fetching Debian package {package}"));
    let mut download = Command::new("apt-get");
    download.args(["download", package]).current_dir(&debs);
    shell::quiet(with_options(&mut download, options), DOWNLOAD_LIMIT)
        .with_context(|| format!("could not fetch Debian package `{package}`"))?;
    let deb = fs::read_dir(&debs)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get fetched no file for `{package}`"))?;
    shell::quiet(
        Command::new("dpkg").arg("-x").arg(deb).arg(destination),
        DOWNLOAD_LIMIT,
    )
    .with_context(|| format!("could not unpack Debian package `{package}`"))?;
    super::remove(&debs)
}

fn with_options<'a>(command: &'a mut Command, options: &[String]) -> &'a mut Command {
    for option in options {
        command.arg("-o").arg(option);
    }
    command
}

/// Copies the machine's main package source into `folder`, with `suite` instead of its own release.
fn write_sources(suite: &str, folder: &Path) -> Result<()> {
    let codename = release()?.context("this system has no Debian release name")?;
    for (path, name) in [
        ("/etc/apt/sources.list.d/debian.sources", "guest.sources"),
        ("/etc/apt/sources.list", "guest.list"),
    ] {
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        if text.contains(&codename) {
            let file = folder.join(name);
            return fs::write(&file, text.replace(&codename, suite))
                .with_context(|| format!("could not write `{}`", file.display()));
        }
    }
    bail!("found no package source for Debian {codename} under /etc/apt")
}

/// The name of this machine's Debian release; `None` where it is no Debian.
pub(super) fn release() -> Result<Option<String>> {
    let text = fs::read_to_string("/etc/os-release").context("could not read /etc/os-release")?;
    Ok(codename(&text).map(str::to_owned))
}

/// The release name in the text of `/etc/os-release`, on Debian only.
fn codename(release: &str) -> Option<&str> {
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|v| v.trim_matches('"'))
    };
    (value("ID")? == "debian").then(|| value("VERSION_CODENAME"))?
}

#[cfg(test)]
mod tests {
    use super::{codename, proxies};

    #[test]
    fn proxies_are_named_for_sudo_as_far_as_there_are_any() {
        let set = |name: &str| (name == "https_proxy").then(|| "http://proxy:3128".to_owned());
        assert_eq!(proxies(set), ["https_proxy=http://proxy:3128"]);
        assert!(proxies(|_| None).is_empty());
    }

    #[test]
    fn codename_is_read_on_debian_only() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(codename(debian), Some("bookworm"));
        assert_eq!(codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(codename(""), None);
    }
}
