//! Why the reader of a link cannot read at the moment.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;

use crate::workers::Partition;

/// What is not read, and why.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    all: Mutex<Option<String>>,
    /// Partitions that stand: the messages of others say nothing of them. They are no more than the
    /// reader has.
    standing: Mutex<BTreeMap<Partition, String>>,
}

impl Unread {
    /// Nothing can be read.
    pub(super) fn note(&self, what: String) {
        *self.all.lock() = Some(what);
    }

    /// Something is read, or may be again.
    pub(super) fn passes(&self) {
        *self.all.lock() = None;
    }

    /// A partition cannot be read on, whatever comes of the others.
    pub(super) fn stands(&self, partition: &Partition, what: String) {
        self.standing.lock().insert(partition.clone(), what);
    }

    /// A partition is read on.
    pub(super) fn goes_on(&self, partition: &Partition) {
        self.standing.lock().remove(partition);
    }

    /// Partitions go to other readers.
    pub(super) fn revoke(&self, partitions: &TopicPartitionList) {
        let mut standing = self.standing.lock();
        for element in partitions.elements() {
            standing.remove(&(element.topic().to_owned(), element.partition()));
        }
    }

    /// What is wrong; of several things one.
    pub(crate) fn trouble(&self) -> Option<String> {
        let all = self.all.lock().clone();
        all.or_else(|| self.standing.lock().values().next().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_stands_is_told_of_until_it_is_read_on_or_goes() {
        let unread = Unread::default();
        let partitions = [0, 1].map(|number| ("t".to_owned(), number));
        for partition in &partitions {
            unread.stands(partition, format!("{} stands", partition.1));
        }
        // Of any other partition.
        unread.passes();
        assert_eq!(unread.trouble().as_deref(), Some("0 stands"));
        unread.note("no brokers".to_owned());
        assert_eq!(unread.trouble().as_deref(), Some("no brokers"));
        unread.passes();
        unread.goes_on(&partitions[0]);
        assert_eq!(unread.trouble().as_deref(), Some("1 stands"));
        let mut gone = TopicPartitionList::new();
        gone.add_partition("t", 1);
        unread.revoke(&gone);
        assert_eq!(unread.trouble(), None);
    }
}
