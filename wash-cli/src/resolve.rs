//! From what people type to what the lattice understands: hosts, entities, images, pairs.

use std::path::Path;

use lattice_core::host::{Host, HostInventory};
use lattice_core::reference::{Reference, RegistryRef, of_file};
use lattice_core::{ComponentId, HostId, StringMap};

use crate::connection::{Lattice, Search};
use crate::error::{CliError, Code, Result};

/// Checks the id of a component or provider.
pub(crate) fn entity_id(text: &str) -> Result<ComponentId> {
    ComponentId::new(text.trim())
        .map_err(|error| CliError::new(Code::Usage, error.to_string()).hint(error.hint()))
}

/// Turns a path into a reference to the file and checks every other reference.
///
/// An absolute path need not exist here, since the host may run on another machine.
pub(crate) fn image_ref(text: &str) -> Result<String> {
    let text = text.trim();
    if let Some(path) = text
        .strip_prefix("file://")
        .filter(|it| !it.starts_with('/'))
    {
        return relative_reference(path);
    }
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(file_reference(path));
    }
    if path.exists() {
        let full = path.canonicalize().map_err(|error| {
            CliError::io(format!("could not find the full path of `{text}`"), &error)
        })?;
        return Ok(file_reference(&full));
    }
    let reference = text.parse::<Reference>();
    if !text.contains("://") && !is_image(text) {
        let text = format!("there is no file `{text}`");
        return Err(CliError::new(Code::FileNotFound, text).hint(
            "check the path, which starts at the current folder; `wash build` makes the file of \
             a component",
        ));
    }
    match reference {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(CliError::new(Code::Usage, error.to_string())
            .hint("give the path of a file, or `file:///absolute/path`")),
    }
}

/// `file://build/app.wasm` names a file of the current folder, as in 1.x.
fn relative_reference(path: &str) -> Result<String> {
    let full = Path::new(path).canonicalize().map_err(|error| {
        CliError::unread(format!("could not find the file `{path}`"), &error).hint(
            "check the path, which starts at the current folder, or write `file:///absolute/path`",
        )
    })?;
    Ok(file_reference(&full))
}

/// Whether a text names an image in a registry.
pub(crate) fn is_image(text: &str) -> bool {
    !text.contains("://")
        && matches!(text.parse::<Reference>(), Ok(Reference::Registry(it)) if is_remote(&it))
}

/// Whether a registry is meant, and not a folder: `ghcr.io/org/image` or `registry/image:1.0`, not
/// `build/app.wasm`.
fn is_remote(reference: &RegistryRef) -> bool {
    let is_versioned = reference.tag.is_some() || reference.digest.is_some();
    let named = |end| reference.repository.ends_with(end);
    let file = [".wasm", ".gz"].into_iter().any(named);
    is_versioned
        || reference.authority == "localhost"
        || !file && reference.authority.trim_matches('.').contains(['.', ':'])
}

fn file_reference(path: &Path) -> String {
    of_file(&path.display().to_string())
}

/// Reads `key=value` arguments; later ones win.
pub(crate) fn pairs(texts: &[String]) -> Result<StringMap> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(CliError::new(
                Code::Usage,
                format!("`{text}` is not of the form `key=value`"),
            )
            .hint("give each setting as `key=value`, such as `url=redis://127.0.0.1:6379`")),
        })
        .collect()
}

/// Whether a host has every label asked for.
pub(crate) fn fits(labels: &StringMap, constraints: &StringMap) -> bool {
    constraints
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

impl Lattice {
    /// Finds a host by its full id, the start of its id, or a part of its friendly name.
    pub(crate) async fn find_host(&self, text: &str) -> Result<HostId> {
        // Tables on a terminal end a shortened id like this.
        let text = text.trim_end_matches('…');
        if let Ok(id) = HostId::new(text) {
            return Ok(id);
        }
        let quick = self.hosts(Search::Quick).await?;
        match sure(&quick, text) {
            Some(host) => id_of(host),
            None => self.find_among_all(text).await,
        }
    }

    /// As [`Lattice::find_host`], for what cannot be undone: it waits whether another host has the
    /// same name.
    pub(crate) async fn find_host_to_stop(&self, text: &str) -> Result<HostId> {
        let text = text.trim_end_matches('…');
        match HostId::new(text) {
            Ok(id) => Ok(id),
            Err(_) => self.find_among_all(text).await,
        }
    }

    async fn find_among_all(&self, text: &str) -> Result<HostId> {
        let all = self.hosts(Search::Full).await?;
        if all.is_empty() {
            return Err(self.no_hosts());
        }
        match unambiguous(&all, text)? {
            Some(found) => Ok(found),
            None => Err(no_host(text, &all)),
        }
    }

    /// As [`Lattice::find_host`], if a host is named.
    pub(crate) async fn find_host_if(&self, text: Option<&str>) -> Result<Option<HostId>> {
        match text {
            Some(text) => self.find_host(text).await.map(Some),
            None => Ok(None),
        }
    }

    /// Inventories of the named host, or of all.
    pub(crate) async fn look_at(
        &self,
        host: Option<&HostId>,
        search: Search,
    ) -> Result<Vec<HostInventory>> {
        if let Some(host) = host {
            let inventory = self.client.inventory(host).await;
            let what = format!("could not read the inventory of host `{host}`");
            return Ok(vec![inventory.map_err(|error| self.explain(what, &error))?]);
        }
        let hosts = self.hosts(search).await?;
        self.inventories(&hosts).await
    }

    /// All hosts for which `runs` gives something, with what it gives. What is done everywhere, or
    /// to the only one, must not miss a host that answers late, so this takes the whole timeout, as
    /// in 1.x, unless the host is named.
    pub(crate) async fn running<T>(
        &self,
        host: Option<&HostId>,
        runs: impl Fn(&HostInventory) -> Option<T>,
    ) -> Result<Vec<(HostId, T)>> {
        let inventories = self.look_at(host, Search::Full).await?;
        if inventories.is_empty() {
            return Err(self.no_hosts());
        }
        let found = inventories.iter().filter_map(|inventory| {
            let host = HostId::new(&inventory.host_id).ok()?;
            Some((host, runs(inventory)?))
        });
        Ok(found.collect())
    }
}

/// The host that is meant, if that is known before all have answered. What is a part of one name, or
/// the start of one id, may be the whole name of a host that answers later.
fn sure<'a>(hosts: &'a [Host], text: &str) -> Option<&'a Host> {
    match named(hosts, text).as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

fn id_of(host: &Host) -> Result<HostId> {
    HostId::new(&host.id).map_err(|error| {
        CliError::new(Code::BadReply, "a host answered with a wrong id").caused_by(&error)
    })
}

/// The one host the text fits; nothing if none, an error if several.
fn unambiguous(hosts: &[Host], text: &str) -> Result<Option<HostId>> {
    let found = candidates(hosts, text);
    match found.as_slice() {
        [] => Ok(None),
        [one] => id_of(one).map(Some),
        several => {
            let mut error = CliError::new(
                Code::HostAmbiguous,
                format!("`{text}` fits {} hosts", several.len()),
            );
            for host in several {
                error = error.cause(format!("{} {}", host.id, host.friendly_name));
            }
            Err(error.hint("give the full id, or more of the name"))
        }
    }
}

/// An exact friendly name wins over parts of others.
fn candidates<'a>(hosts: &'a [Host], text: &str) -> Vec<&'a Host> {
    let exact = named(hosts, text);
    if !exact.is_empty() || text.is_empty() {
        return exact;
    }
    let (lower, upper) = (text.to_lowercase(), text.to_uppercase());
    hosts
        .iter()
        .filter(|host| {
            host.id.starts_with(&upper) || host.friendly_name.to_lowercase().contains(&lower)
        })
        .collect()
}

/// The hosts with this friendly name.
fn named<'a>(hosts: &'a [Host], text: &str) -> Vec<&'a Host> {
    let lower = text.to_lowercase();
    hosts
        .iter()
        .filter(|host| host.friendly_name.to_lowercase() == lower)
        .collect()
}

fn no_host(text: &str, hosts: &[Host]) -> CliError {
    const SHOWN: usize = 10;
    let mut error = CliError::new(Code::HostNotFound, format!("no host fits `{text}`"));
    for host in hosts.iter().take(SHOWN) {
        error = error.cause(format!("there is {} {}", host.id, host.friendly_name));
    }
    error.hint("`wash get hosts` lists the hosts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, name: &str) -> Host {
        Host {
            id: id.into(),
            friendly_name: name.into(),
            ..Host::default()
        }
    }

    const A: &str = "NAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const B: &str = "NABBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    fn names(text: &str) -> Vec<String> {
        let hosts = [
            host(A, "icy-hill-1"),
            host(B, "icy-hill-12"),
            host("NC", "dry-sea-3"),
        ];
        candidates(&hosts, text)
            .iter()
            .map(|host| host.friendly_name.clone())
            .collect()
    }

    #[test]
    fn hosts_are_found_by_prefix_and_part_of_the_name() {
        assert_eq!(names("naa"), ["icy-hill-1"]);
        assert_eq!(names("SEA"), ["dry-sea-3"]);
        assert_eq!(names("na"), ["icy-hill-1", "icy-hill-12"]);
        assert_eq!(names("icy-hill-1"), ["icy-hill-1"], "an exact name wins");
        assert!(names("").is_empty());
    }

    #[test]
    fn only_a_whole_name_that_one_host_has_is_sure_before_all_have_answered() {
        let hosts = [host(A, "edge-12"), host(B, "twin"), host("NC", "twin")];
        let found = |text| sure(&hosts, text).map(|host| host.id.as_str());
        assert_eq!(found("Edge-12"), Some(A));
        for text in ["edge-1", "naa", "twin", ""] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn several_candidates_are_listed() {
        let error = unambiguous(&[host(A, "a-1"), host(B, "a-2")], "a-").unwrap_err();
        assert_eq!((error.code(), error.exit()), (Code::HostAmbiguous, 3));
        assert_eq!(error.causes().len(), 2);
    }

    #[test]
    fn paths_become_file_references() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a%20b.wasm");
        assert!(
            image_ref(path.to_str().unwrap())
                .unwrap()
                .ends_with("/a%2520b.wasm")
        );
        assert_eq!(image_ref("/x/y.wasm").unwrap(), "file:///x/y.wasm");
        assert_eq!(image_ref("ghcr.io/a/b:1").unwrap(), "ghcr.io/a/b:1");
        assert_eq!(
            image_ref("./none.wasm").unwrap_err().code(),
            Code::FileNotFound
        );
        assert_eq!(
            image_ref("none.wasm").unwrap_err().code(),
            Code::FileNotFound
        );
        assert_eq!(image_ref("ftp://x/y").unwrap_err().code(), Code::Usage);
        let here = image_ref("file://src/resolve.rs").unwrap();
        assert!(here.starts_with("file:///") && here.ends_with("/src/resolve.rs"));
        let missing = image_ref("file://build/none.wasm").unwrap_err();
        assert_eq!(missing.code(), Code::FileNotFound);
    }

    #[test]
    fn a_missing_file_is_one_however_it_is_named() {
        for path in [
            "nothere",
            "target/debug/kv",
            "build/app.wasm",
            "../kv",
            "a.b/c.wasm",
            "x y",
        ] {
            let error = image_ref(path).unwrap_err();
            assert_eq!(
                (error.code(), error.exit()),
                (Code::FileNotFound, 3),
                "{path}"
            );
            // A registry would be refused by the host.
            assert!(!error.hint_text().unwrap().contains("ghcr.io"), "{path}");
        }
        for reference in [
            "localhost:5000/a:1",
            "localhost/a:1",
            "ghcr.io/a/b",
            "registry/app:1.0",
            "registry/team/app.wasm:1.0",
            "registry/app@sha256:ab",
        ] {
            assert_eq!(image_ref(reference).unwrap(), reference);
        }
    }

    #[test]
    fn a_refused_id_says_what_is_allowed_and_what_to_do() {
        for (id, allowed, hint) in [
            ("a.b", "`/` and `=`", "my-counter"),
            ("", "empty", "fill it in"),
            (&"x".repeat(999), "256", "shorter"),
        ] {
            let error = entity_id(id).unwrap_err();
            assert!(error.message().contains(allowed), "{id}: {error:?}");
            assert!(error.hint_text().unwrap().contains(hint), "{id}: {error:?}");
        }
        assert!(
            entity_id("a/b=c").is_ok(),
            "what the message allows is allowed"
        );
    }

    #[test]
    fn pairs_are_read_and_constraints_are_exact() {
        let map = pairs(&["a=1".into(), "b=x=y".into()]).unwrap();
        assert_eq!(map["b"], "x=y");
        assert!(fits(&map, &pairs(&["a=1".into()]).unwrap()));
        assert!(!fits(&map, &pairs(&["a=2".into()]).unwrap()));
        assert!(pairs(&["novalue".into()]).is_err());
    }
}
