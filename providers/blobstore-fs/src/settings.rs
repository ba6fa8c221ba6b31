//! What a link says.
//!
//! | value | default | meaning |
//! |---|---|---|
//! | `root` | a folder of the component's id, with `%2F` for `/`, in the folder for temporary files | the folder of the link, which is made if it is missing |
//! | `sync` | `true` | whether a write is answered only once it is on the disk |
//!
//! Those of every blob provider come on top; see [`lattice_provider_sdk::blobstore`].

use std::io;
use std::path::{Path, PathBuf};

use lattice_provider_sdk::blobstore::BlobSettings;
use lattice_provider_sdk::files::make_own;
use lattice_provider_sdk::{InvalidSetting, LinkError, ProviderLink, Session, Settings};

use crate::folder::Root;

/// The settings of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FsSettings {
    /// The folder, if the link says one.
    root: Option<PathBuf>,
    /// The folder of a link that says none.
    own: PathBuf,
    pub(crate) sync: bool,
    pub(crate) shared: BlobSettings,
}

impl FsSettings {
    pub(crate) fn of(session: &Session, link: &ProviderLink) -> Result<Self, InvalidSetting> {
        let settings = Settings::of(session, link);
        Ok(Self {
            root: settings.text("root").map(PathBuf::from),
            own: own_folder(&std::env::temp_dir(), link.peer.as_str()),
            sync: settings.switch("sync", true)?,
            shared: BlobSettings::of(session, link)?,
        })
    }

    /// Those of a link that says no more than its folder.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self {
            own: root.clone(),
            root: Some(root),
            sync: true,
            shared: BlobSettings::default(),
        }
    }

    /// The folder, which is there then.
    pub(crate) fn prepare(&self) -> Result<Root, LinkError> {
        let made = match &self.root {
            Some(root) => std::fs::create_dir_all(root).map(|()| root),
            None => make_own(&self.own).map(|()| &self.own),
        };
        let path = made.and_then(|path| path.canonicalize());
        let path = path.map_err(|error| self.unusable(&error))?;
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Root(path)),
            Ok(_) => Err(self.unusable(&io::ErrorKind::NotADirectory.into())),
            Err(error) => Err(self.unusable(&error)),
        }
    }

    fn unusable(&self, error: &io::Error) -> LinkError {
        let path = self.root.as_ref().unwrap_or(&self.own).display();
        let what = format!("could not use the folder `{path}` (`root`): {error}");
        // A folder may be mounted later, or given to us.
        LinkError::unavailable(what)
    }
}

/// The folder of a component. An id may have a `/`, and must not lead elsewhere.
fn own_folder(temporary: &Path, component: &str) -> PathBuf {
    temporary.join(crate::name::encode(component))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn settings(root: Option<PathBuf>, own: PathBuf) -> FsSettings {
        FsSettings {
            root,
            own,
            sync: true,
            shared: BlobSettings::default(),
        }
    }

    #[test]
    fn a_missing_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        let root = settings(Some(deep.clone()), PathBuf::new()).prepare();
        assert_eq!(root.unwrap().0, deep.canonicalize().unwrap());
        let own = folder.path().join("component");
        settings(None, own.clone()).prepare().unwrap();
        settings(None, own.clone()).prepare().unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn the_folder_of_a_component_is_among_the_temporary_ones() {
        for (component, file) in [
            ("default-cart", "/tmp/default-cart"),
            ("team/cart", "/tmp/team%2Fcart"),
            ("/etc", "/tmp/%2Fetc"),
            ("..", "/tmp/%2E."),
        ] {
            let own = own_folder(Path::new("/tmp"), component);
            assert_eq!(own, Path::new(file));
        }
    }

    #[test]
    fn what_somebody_else_put_in_its_place_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("component");
        std::os::unix::fs::symlink("/tmp", &own).unwrap();
        let error = settings(None, own).prepare().unwrap_err().to_string();
        assert!(error.contains("somebody else"), "{error}");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = settings(Some(file), PathBuf::new()).prepare().unwrap_err();
        assert!(error.to_string().contains("file` (`root`)"), "{error}");
    }
}
