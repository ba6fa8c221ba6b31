//! One container and its objects.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use lattice_provider_sdk::blobstore::{BlobError, ObjectId, ObjectInfo, seconds};
use parking_lot::RwLock;

use crate::room::{Bounds, Held, OVERHEAD, Room};

/// An object. It never changes: who writes it anew makes another.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) info: ObjectInfo,
    pieces: Vec<Bytes>,
    _held: Held,
}

impl Object {
    /// The pieces of a range.
    pub(crate) fn pieces(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> + use<'_> {
        let mut at = 0;
        self.pieces.iter().filter_map(move |piece| {
            let len = piece.len() as u64;
            let start = range.start.saturating_sub(at).min(len);
            let end = range.end.saturating_sub(at).min(len);
            at += len;
            // Both are within the piece.
            (start < end).then(|| piece.slice(start as usize..end as usize))
        })
    }
}

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    pieces: Vec<Bytes>,
    size: u64,
    held: Held,
    bounds: Bounds,
}

impl Draft {
    /// Adds a piece.
    pub(crate) fn push(&mut self, piece: Bytes) -> Result<(), BlobError> {
        self.held.grow(piece.len() as u64, self.bounds)?;
        self.size += piece.len() as u64;
        self.pieces.push(piece);
        Ok(())
    }

    fn finish(self) -> Arc<Object> {
        Arc::new(Object {
            info: ObjectInfo {
                created_at: seconds(SystemTime::now()),
                size: self.size,
            },
            pieces: self.pieces,
            _held: self.held,
        })
    }
}

#[derive(Debug, Default)]
struct Objects {
    by_name: BTreeMap<String, Arc<Object>>,
    /// The container was deleted; nothing may be put into it any more.
    gone: bool,
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) created_at: u64,
    room: Arc<Room>,
    total: Arc<Room>,
    /// For the container itself.
    _held: Held,
    objects: RwLock<Objects>,
}

impl Container {
    /// An empty one.
    pub(crate) fn new(name: &str, total: &Arc<Room>, bounds: Bounds) -> Result<Self, BlobError> {
        let room = Arc::default();
        let mut held = Held::new(&room, total);
        held.grow(name.len() as u64 + OVERHEAD, bounds)?;
        Ok(Self {
            name: name.to_owned(),
            created_at: seconds(SystemTime::now()),
            room,
            total: Arc::clone(total),
            _held: held,
            objects: RwLock::default(),
        })
    }

    /// Begins an object.
    pub(crate) fn draft(&self, name: &str, bounds: Bounds) -> Result<Draft, BlobError> {
        let mut held = Held::new(&self.room, &self.total);
        held.grow(name.len() as u64 + OVERHEAD, bounds)?;
        Ok(Draft {
            pieces: Vec::new(),
            size: 0,
            held,
            bounds,
        })
    }

    /// Puts an object that is whole in its place.
    pub(crate) fn put(&self, name: &str, draft: Draft) -> Result<(), BlobError> {
        let object = draft.finish();
        let mut objects = self.objects.write();
        if objects.gone {
            return Err(BlobError::NoContainer(self.name.clone()));
        }
        let before = objects.by_name.insert(name.to_owned(), object);
        drop(objects);
        // Giving large objects back takes a while.
        drop(before);
        Ok(())
    }

    /// An object.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Object>, BlobError> {
        let found = self.objects.read().by_name.get(name).map(Arc::clone);
        found.ok_or_else(|| {
            BlobError::NoObject(ObjectId {
                container: self.name.clone(),
                object: name.to_owned(),
            })
        })
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, name: &str) {
        let before = self.objects.write().by_name.remove(name);
        drop(before);
    }

    /// Deletes an object if it still is the one that is meant.
    pub(crate) fn delete_this(&self, name: &str, object: &Arc<Object>) {
        let mut objects = self.objects.write();
        let is_same = |known: &Arc<Object>| Arc::ptr_eq(known, object);
        if objects.by_name.get(name).is_some_and(is_same) {
            objects.by_name.remove(name);
        }
    }

    /// Deletes all objects.
    pub(crate) fn clear(&self) {
        let before = std::mem::take(&mut self.objects.write().by_name);
        drop(before);
    }

    /// Deletes all objects and takes no more.
    pub(crate) fn close(&self) {
        self.objects.write().gone = true;
        self.clear();
    }

    /// Some names after one, in order.
    pub(crate) fn names(&self, after: Option<&str>, most: usize) -> Vec<String> {
        let from = after.map_or(Unbounded, Excluded);
        let objects = self.objects.read();
        let names = objects.by_name.range::<str, _>((from, Unbounded));
        names.take(most).map(|(name, _)| name.clone()).collect()
    }

    /// Makes an object of this container from one of any.
    pub(crate) fn copy(
        &self,
        object: &Object,
        name: &str,
        bounds: Bounds,
    ) -> Result<(), BlobError> {
        let mut draft = self.draft(name, bounds)?;
        for piece in &object.pieces {
            draft.push(piece.clone())?;
        }
        self.put(name, draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        container: 2000,
        total: 2000,
    };

    fn write(container: &Container, name: &str, pieces: &[&'static str]) -> Result<(), BlobError> {
        let mut draft = container.draft(name, BOUNDS)?;
        for piece in pieces {
            draft.push(Bytes::from_static(piece.as_bytes()))?;
        }
        container.put(name, draft)
    }

    #[test]
    fn a_range_is_cut_out_of_the_pieces() {
        let container = Container::new("c", &Arc::default(), BOUNDS).unwrap();
        write(&container, "o", &["abc", "de", "f"]).unwrap();
        let object = container.get("o").unwrap();
        let range = |range| Vec::from_iter(object.pieces(range)).concat();
        assert_eq!(range(0..6), b"abcdef");
        assert_eq!(range(2..4), b"cd");
        assert_eq!(range(5..6), b"f");
        assert_eq!(range(3..3), b"");
    }

    #[test]
    fn what_is_deleted_gives_its_room_back() {
        let total = Arc::default();
        let container = Container::new("c", &total, BOUNDS).unwrap();
        let empty = total.held();
        for _ in 0..3 {
            write(&container, "o", &["abc"; 100]).unwrap();
            write(&container, "p", &["abc"; 100]).unwrap();
            assert!(matches!(
                write(&container, "q", &["abc"; 300]),
                Err(BlobError::Full(_))
            ));
            let reader = container.get("o").unwrap();
            container.delete("o");
            container.delete("p");
            assert!(total.held() > empty);
            drop(reader);
            assert_eq!(total.held(), empty);
        }
        container.close();
        assert!(matches!(
            write(&container, "o", &[]),
            Err(BlobError::NoContainer(_))
        ));
        drop(container);
        assert_eq!(total.held(), 0);
    }
}
