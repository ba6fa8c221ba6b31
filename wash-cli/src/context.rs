//! Named connection settings, in the files of a 1.x install.
//!
//! A context is `<name>.json` in the contexts folder; a file called `default`
//! holds the name of the one in use. Reading never writes.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dirs;
use crate::error::{CliError, Code, Result};

/// The context used when no default was ever chosen.
pub(crate) const FIRST: &str = "host_config";
const DEFAULT_FILE: &str = "default";

/// One context. Field names are those of 1.x.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Context {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster_seed: Option<String>,
    pub(crate) ctl_host: Option<String>,
    pub(crate) ctl_port: Option<u16>,
    pub(crate) ctl_jwt: Option<String>,
    pub(crate) ctl_seed: Option<String>,
    pub(crate) ctl_credsfile: Option<PathBuf>,
    pub(crate) ctl_timeout: Option<u64>,
    pub(crate) ctl_tls_ca_file: Option<PathBuf>,
    pub(crate) ctl_tls_first: Option<bool>,
    #[serde(alias = "lattice_prefix")]
    pub(crate) lattice: Option<String>,
    pub(crate) js_domain: Option<String>,
    pub(crate) rpc_host: Option<String>,
    pub(crate) rpc_port: Option<u16>,
    pub(crate) rpc_jwt: Option<String>,
    pub(crate) rpc_seed: Option<String>,
    pub(crate) rpc_credsfile: Option<PathBuf>,
    pub(crate) rpc_timeout: Option<u64>,
    pub(crate) rpc_tls_ca_file: Option<PathBuf>,
    pub(crate) rpc_tls_first: Option<bool>,
}

impl Context {
    /// A context with the values of a fresh install.
    pub(crate) fn local(name: &str) -> Self {
        let host = || Some("127.0.0.1".to_owned());
        Self {
            name: name.to_owned(),
            ctl_host: host(),
            ctl_port: Some(4222),
            ctl_timeout: Some(2000),
            lattice: Some("default".to_owned()),
            rpc_host: host(),
            rpc_port: Some(4222),
            rpc_timeout: Some(2000),
            ..Self::default()
        }
    }
}

/// The contexts folder.
#[derive(Debug)]
pub(crate) struct ContextDir(PathBuf);

impl ContextDir {
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self> {
        folder.map_or_else(dirs::contexts, Ok).map(Self)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// Names of all contexts, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io("list", &self.0, &error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    /// The name of the context in use, if one was chosen.
    pub(crate) fn default_name(&self) -> Result<Option<String>> {
        let path = self.0.join(DEFAULT_FILE);
        match fs::read_to_string(&path) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &path, &error)),
        }
    }

    /// Reads one context by name.
    pub(crate) fn load(&self, name: &str) -> Result<Context> {
        check_name(name)?;
        let path = self.file(name);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing(name)),
            Err(error) => return Err(io("read", &path, &error)),
        };
        serde_json::from_str(&text).map_err(|error| {
            CliError::new(
                Code::ContextInvalid,
                format!("could not read context `{name}`"),
            )
            .cause(format!("{}: {error}", path.display()))
            .hint(format!(
                "repair the file, or delete it with `wash ctx del {name}`"
            ))
        })
    }

    fn missing(&self, name: &str) -> CliError {
        let known = self.names().unwrap_or_default().join(", ");
        let hint = if known.is_empty() {
            format!("make it with `wash ctx new {name}`")
        } else {
            format!("these exist: {known}")
        };
        CliError::new(
            Code::ContextNotFound,
            format!("there is no context `{name}`"),
        )
        .hint(hint)
    }

    /// The context for a command: the named one, else the default, else none.
    pub(crate) fn select(&self, name: Option<&str>) -> Result<Option<Context>> {
        if let Some(name) = name {
            return self.load(name).map(Some);
        }
        match self.default_name()? {
            Some(name) => self.load(&name).map(Some),
            None if self.file(FIRST).exists() => self.load(FIRST).map(Some),
            None => Ok(None),
        }
    }

    /// Stores a context, readable by its owner only: it may hold seeds.
    pub(crate) fn save(&self, context: &Context) -> Result<PathBuf> {
        check_name(&context.name)?;
        let path = self.file(&context.name);
        let text = serde_json::to_string_pretty(context).expect("contexts have string keys");
        self.write(&path, &text)?;
        Ok(path)
    }

    pub(crate) fn set_default(&self, name: &str) -> Result<()> {
        self.load(name)?;
        self.write(&self.0.join(DEFAULT_FILE), name)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        let path = self.existing(name)?;
        fs::remove_file(&path).map_err(|error| io("delete", &path, &error))?;
        if self.default_name()?.as_deref() == Some(name) {
            let path = self.0.join(DEFAULT_FILE);
            fs::remove_file(&path).map_err(|error| io("delete", &path, &error))?;
        }
        Ok(())
    }

    /// The file of a context that exists. It is not read: a broken one can be deleted or repaired.
    pub(crate) fn existing(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        let path = self.file(name);
        if path.exists() {
            Ok(path)
        } else {
            Err(self.missing(name))
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::create_dir_all(&self.0).map_err(|error| io("create", &self.0, &error))?;
        crate::files::write_private(path, text.as_bytes())
            .map_err(|error| io("write", path, &error))
    }
}

fn check_name(name: &str) -> Result<()> {
    // All else can be part of a name in 1.x, with which the folder is shared.
    let leads_away = |c: char| c.is_control() || matches!(c, '/' | '\\');
    // The blanks around a name are lost where the name of the default is read.
    let is_read_back = !name.is_empty() && name == name.trim();
    if is_read_back && !name.starts_with('.') && !name.contains(leads_away) {
        return Ok(());
    }
    Err(CliError::new(
        Code::Usage,
        format!("`{}` cannot name a context", name.escape_debug()),
    )
    .hint("use letters, digits, `-` and `_`"))
}

fn io(verb: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::io(format!("could not {verb} `{}`", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_1_x_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"name":"edge","cluster_seed":null,"ctl_host":"10.0.0.1","ctl_port":4333,
            "ctl_jwt":null,"ctl_seed":null,"ctl_credsfile":null,"ctl_timeout":2000,
            "ctl_tls_ca_file":null,"lattice_prefix":"west","js_domain":null,"rpc_host":"10.0.0.1",
            "rpc_port":4333,"rpc_timeout":2000,"allow_file_upload":true}"#;
        fs::write(folder.path().join("edge.json"), text).unwrap();
        fs::write(folder.path().join("default"), "edge\n").unwrap();
        let contexts = ContextDir::open(Some(folder.path().into())).unwrap();
        let context = contexts.select(None).unwrap().unwrap();
        assert_eq!(context.ctl_port, Some(4333));
        assert_eq!(context.lattice.as_deref(), Some("west"));
    }

    #[test]
    fn nothing_is_written_by_reading() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = ContextDir::open(Some(folder.path().join("none"))).unwrap();
        assert_eq!(contexts.select(None).unwrap(), None);
        assert!(contexts.names().unwrap().is_empty());
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let contexts = ContextDir::open(Some("/nowhere".into())).unwrap();
        for name in ["../secret", "a/b", "a\\b", "a\nb", ".a", ""] {
            let refused = contexts.load(name).unwrap_err();
            assert_eq!(refused.code(), Code::Usage, "{name:?}");
        }
    }

    #[test]
    fn a_name_that_would_be_read_as_another_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = ContextDir::open(Some(folder.path().into())).unwrap();
        for name in ["edge ", " edge", " "] {
            let refused = contexts.save(&Context::local(name)).unwrap_err();
            assert_eq!(refused.code(), Code::Usage, "{name:?}");
        }
        assert!(contexts.names().unwrap().is_empty());
    }

    #[test]
    fn names_of_1_x_are_used_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = ContextDir::open(Some(folder.path().into())).unwrap();
        for name in ["prod eu", "ops@prod", "a+b"] {
            let text = format!(r#"{{"name":"{name}","ctl_port":4333}}"#);
            fs::write(folder.path().join(format!("{name}.json")), text).unwrap();
            fs::write(folder.path().join("default"), name).unwrap();
            let used = contexts.select(None).unwrap().unwrap();
            assert_eq!(used.ctl_port, Some(4333), "{name}");
            contexts.delete(name).unwrap();
        }
        assert!(contexts.names().unwrap().is_empty());
        assert_eq!(contexts.default_name().unwrap(), None);
    }

    #[test]
    fn deleting_the_default_leaves_no_default() {
        let folder = tempfile::tempdir().unwrap();
        let contexts = ContextDir::open(Some(folder.path().into())).unwrap();
        contexts.save(&Context::local("a")).unwrap();
        contexts.set_default("a").unwrap();
        contexts.delete("a").unwrap();
        assert_eq!(contexts.default_name().unwrap(), None);
        assert_eq!(
            contexts.delete("a").unwrap_err().code(),
            Code::ContextNotFound
        );
    }
}
