//! The names of the objects in a container, in the order of their bytes.

use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures::StreamExt as _;
use lattice_provider_sdk::blobstore::{BlobError, Names};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use crate::failure::{failed, is_absent, on_disk};
use crate::folder::{Container, open_folder};
use crate::name::{DEEPEST, ITSELF, Part, decode};

/// How many bytes of names are kept at once.
const ROOM: usize = 8 << 20;
/// What keeping a name takes beside its bytes.
const NAME: usize = 32;

/// All names, read as they are asked for.
pub(crate) fn names(container: Container) -> Names {
    names_within(container, ROOM)
}

fn names_within(container: Container, room: usize) -> Names {
    let start = Some((Arc::new(container), None::<String>));
    let next = move |state: Option<(Arc<Container>, Option<String>)>| async move {
        let (container, after) = state?;
        let same = Arc::clone(&container);
        let look = move || {
            let mut page = Page::new(after, room);
            page.look(same.folder(), &Within::default())
                .map_err(|e| failed(&e))?;
            Ok(page.sorted())
        };
        match on_disk(look).await {
            Ok((names, _)) if names.is_empty() => None,
            Ok((names, true)) => Some((Ok(names), None)),
            Ok((names, false)) => {
                let last = names.last().cloned();
                Some((Ok(names), Some((container, last))))
            }
            Err(error) => Some((Err::<Vec<String>, BlobError>(error), None)),
        }
    };
    futures::stream::unfold(start, next).boxed()
}

/// The folder that is looked through.
#[derive(Default)]
struct Within {
    /// What the names in it begin with: those of the folders, each with a `/`.
    path: String,
    /// In how many folders it is.
    depth: usize,
    /// What the encoded names in it begin with, in the folders of a name that is too long for a file.
    before: Option<String>,
}

impl Within {
    /// The object that has the name of the folder.
    fn itself(&self) -> Option<&str> {
        self.path.strip_suffix('/')
    }

    /// The name of what is called so in it; in folders names have no `/` of their own.
    fn name(&self, part: &str) -> Option<String> {
        let before = self.before.as_deref().unwrap_or_default();
        let name = decode(&format!("{before}{part}"))?;
        let is_one = self.path.is_empty() || !name.contains('/');
        is_one.then(|| format!("{}{name}", self.path))
    }

    /// The folder for names that begin so, if it is one.
    fn folder(&self, part: &str) -> Option<Self> {
        let name = decode(part).filter(|name| !name.contains('/'));
        let name = name.filter(|_| self.before.is_none() && self.depth + 1 < DEEPEST)?;
        Some(Self {
            path: format!("{}{name}/", self.path),
            depth: self.depth + 1,
            before: None,
        })
    }

    /// The folder for the rest of names that begin so; there are none in other folders.
    fn rest(&self, part: &str) -> Option<Self> {
        let before = self.before.as_deref().unwrap_or_default();
        self.path.is_empty().then(|| Self {
            before: Some(format!("{before}{part}")),
            ..Self::default()
        })
    }
}

/// The first names after one, as many as there is room for.
struct Page {
    after: Option<String>,
    room: usize,
    held: usize,
    /// The last of them on top.
    names: BinaryHeap<String>,
    complete: bool,
}

impl Page {
    fn new(after: Option<String>, room: usize) -> Self {
        Self {
            after,
            room,
            held: 0,
            names: BinaryHeap::new(),
            complete: true,
        }
    }

    /// Looks through a folder.
    fn look(&mut self, folder: &OwnedFd, within: &Within) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(text) = entry.file_name().to_str() else {
                continue;
            };
            let kind = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => kind_of(folder, text),
                kind => kind,
            };
            let part = Part::of(text, within.before.is_some());
            let inner = match (kind, part) {
                (FileType::RegularFile, _) if text == ITSELF => {
                    self.consider(within.itself().map(str::to_owned));
                    None
                }
                (FileType::RegularFile, Some(Part::Last(part))) => {
                    self.consider(within.name(&part));
                    None
                }
                (FileType::Directory, Some(Part::Last(part))) => within.folder(&part),
                (FileType::Directory, Some(Part::Folder(part))) => within.rest(&part),
                _ => None,
            };
            if let Some(inner) = inner {
                match open_folder(folder, text) {
                    Ok(folder) => self.look(&folder, &inner)?,
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn consider(&mut self, name: Option<String>) {
        if let Some(name) = name.filter(|name| self.wants(name)) {
            self.keep(name);
        }
    }

    fn wants(&self, name: &str) -> bool {
        if self.after.as_deref().is_some_and(|after| name <= after) {
            return false;
        }
        // Once a name had no room, those after the last that has are for later.
        self.complete || self.names.peek().is_none_or(|last| name < last.as_str())
    }

    fn keep(&mut self, name: String) {
        self.held += name.len() + NAME;
        self.names.push(name);
        while self.held > self.room && self.names.len() > 1 {
            self.complete = false;
            self.held -= self.names.pop().map_or(0, |name| name.len() + NAME);
        }
    }

    /// The names in order, and whether there are no more.
    fn sorted(self) -> (Vec<String>, bool) {
        let mut names = self.names.into_sorted_vec();
        // One that another program has put beside ours counts once.
        names.dedup();
        (names, self.complete)
    }
}

fn kind_of(folder: &OwnedFd, name: &str) -> FileType {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.map_or(FileType::Unknown, |stat| {
        FileType::from_raw_mode(stat.st_mode)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};

    use proptest::prelude::*;

    use super::*;
    use crate::folder::Root;
    use crate::incoming::Draft;

    async fn all(names: Names) -> Vec<String> {
        let pages: Vec<_> = names.collect().await;
        pages.into_iter().flat_map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn names_are_listed_in_order_however_little_room_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        root.create("c", false).unwrap();
        let mut expected = Vec::new();
        let container = || root.container("c").unwrap();
        for number in [7, 1, 12, 5, 33, 2] {
            for name in [
                format!("n{number}"),
                format!("{number}/{}", "x".repeat(900)),
            ] {
                let draft = Draft::new(&root).unwrap();
                draft.place(&container(), &name, false).unwrap();
                expected.push(name);
            }
        }
        expected.sort_unstable();
        std::fs::create_dir(folder.path().join("c/folder")).unwrap();
        std::fs::write(folder.path().join("c/.hidden"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("c/link")).unwrap();
        for name in ["a", "a/b", "a/b/c", "x/y", "x", "x/y/z", "q//r", "/", "t/"] {
            let draft = Draft::new(&root).unwrap();
            draft.place(&container(), name, false).unwrap();
            expected.push(name.to_owned());
        }
        expected.sort_unstable();
        for room in [1, 500, 3000, ROOM] {
            assert_eq!(
                all(names_within(container(), room)).await,
                expected,
                "{room}"
            );
        }
        for name in expected {
            container().delete(&name).unwrap();
        }
        assert!(all(names(container())).await.is_empty());
        // The folders of long names are gone with them.
        let left = std::fs::read_dir(folder.path().join("c")).unwrap();
        assert_eq!(left.count(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever names are the folders of others, or were written in another way before.
        #[test]
        fn a_container_keeps_what_a_map_keeps(
            steps in prop::collection::vec(("[ab/.%]{1,6}", prop::option::of(any::<u8>())), 1..40),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let root = Root(folder.path().to_owned());
            root.create("c", false).unwrap();
            let container = || root.container("c").unwrap();
            let mut map = BTreeMap::new();
            for (name, content) in steps {
                match content {
                    Some(content) => {
                        let draft = Draft::new(&root).unwrap();
                        (&*draft.file).write_all(&[content]).unwrap();
                        draft.place(&container(), &name, false).unwrap();
                        map.insert(name, content);
                    }
                    None => {
                        container().delete(&name).unwrap();
                        map.remove(&name);
                    }
                }
            }
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let listed = runtime.block_on(all(names_within(container(), 200)));
            prop_assert_eq!(&listed, &map.keys().cloned().collect::<Vec<_>>());
            for (name, content) in &map {
                let mut found = Vec::new();
                container().open(name).unwrap().read_to_end(&mut found).unwrap();
                prop_assert_eq!(&found, &[*content]);
                container().delete(name).unwrap();
            }
            prop_assert_eq!(std::fs::read_dir(folder.path().join("c")).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn trees_of_other_programs_and_files_of_the_first_version_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        root.create("c", false).unwrap();
        let inside = folder.path().join("c");
        std::fs::create_dir_all(inside.join("assets/css/empty")).unwrap();
        std::fs::write(inside.join("assets/css/app.css"), "new").unwrap();
        std::fs::write(inside.join("notes%2Fold.txt"), "old").unwrap();
        std::os::unix::fs::symlink("/etc", inside.join("assets/etc")).unwrap();
        let container = || root.container("c").unwrap();
        let expected = ["assets/css/app.css", "notes/old.txt"];
        assert_eq!(all(names(container())).await, expected);
        for (name, content) in expected.into_iter().zip(["new", "old"]) {
            let mut found = String::new();
            container()
                .open(name)
                .unwrap()
                .read_to_string(&mut found)
                .unwrap();
            assert_eq!(found, content);
        }
        for outside in [
            "assets/etc/passwd",
            "../c/assets/css/app.css",
            "assets/../../c",
        ] {
            assert!(container().open(outside).is_err(), "{outside}");
        }
        // Written anew it is where it would be today, and only there.
        let draft = Draft::new(&root).unwrap();
        draft.place(&container(), "notes/old.txt", false).unwrap();
        assert!(inside.join("notes/old.txt").is_file());
        assert_eq!(all(names(container())).await, expected);
        container().delete("notes/old.txt").unwrap();
        assert!(!inside.join("notes").exists());
    }
}
