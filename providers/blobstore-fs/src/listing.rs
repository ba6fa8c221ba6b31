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
use crate::name::{Part, decode};

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
            page.look(same.folder(), "", false)
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

    /// Looks through a folder; `before` is what the encoded names in it begin with.
    fn look(&mut self, folder: &OwnedFd, before: &str, inner: bool) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let Ok(text) = entry.file_name().to_str() else {
                continue;
            };
            match Part::of(text, inner) {
                Some(Part::Folder(part)) => match open_folder(folder, text) {
                    Ok(folder) => self.look(&folder, &format!("{before}{part}"), true)?,
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                },
                Some(Part::Last(part)) => {
                    let name = decode(&format!("{before}{part}"));
                    if let Some(name) = name.filter(|name| self.wants(name)) {
                        let is_file = match entry.file_type() {
                            FileType::RegularFile => true,
                            // Some file systems do not tell.
                            FileType::Unknown => is_file(folder, text),
                            _ => false,
                        };
                        if is_file {
                            self.keep(name);
                        }
                    }
                }
                None => {}
            }
        }
        Ok(())
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
        (self.names.into_sorted_vec(), self.complete)
    }
}

fn is_file(folder: &OwnedFd, name: &str) -> bool {
    let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

#[cfg(test)]
mod tests {
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
        root.create("c").unwrap();
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
}
