//! What is wished of components: commands that wait for their turn.
//!
//! Of one component one is carried out at a time, in the order in which they came, as in 1.9. What waits
//! behind it is little: a stop takes the place of all before it, and where many wait, the last command
//! of a kind says how the component should be.

use std::sync::Arc;

use lattice_core::{ImageRef, StringMap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ComponentStatus;
use super::entry::Wanted;
use super::error::ScaleError;

/// The most that all commands together may take, in bytes.
const ROOM: u32 = 64 << 20;
/// How many of one component wait in their order.
const IN_ORDER: usize = 16;
/// What one takes besides its texts, with all that stands around it while it is carried out.
const OVERHEAD: usize = 4096;

/// A command about a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// That it runs so, or not at all.
    Scale(Wanted),
    /// That it has other code.
    Update {
        image: ImageRef,
        annotations: StringMap,
    },
}

impl Command {
    /// As a command to scale would have it, for reports.
    pub(crate) fn wanted(&self, running: Option<ComponentStatus>) -> Wanted {
        match self {
            Self::Scale(wanted) => wanted.clone(),
            Self::Update { image, annotations } => Wanted {
                image: image.as_str().to_owned(),
                count: running.map_or(0, |status| status.description.max_instances),
                annotations: annotations.clone(),
                ..Wanted::default()
            },
        }
    }

    fn is_stop(&self) -> bool {
        matches!(self, Self::Scale(wanted) if wanted.count == 0)
    }

    /// Whether it need not be carried out any more once `later` is.
    fn is_superseded_by(&self, later: &Self) -> bool {
        match (self, later) {
            (_, later) if later.is_stop() => true,
            // What is stopped before may be started from another image, which one that runs keeps out.
            (Self::Scale(wanted), Self::Scale(_)) => wanted.count > 0,
            (Self::Update { .. }, Self::Scale(wanted)) => wanted.allow_update,
            (Self::Update { .. }, Self::Update { .. }) => true,
            (Self::Scale(_), Self::Update { .. }) => false,
        }
    }

    fn bytes(&self) -> usize {
        let all = |map: &StringMap| -> usize {
            let pairs = map.iter();
            pairs.map(|(key, value)| key.len() + value.len()).sum()
        };
        let texts = match self {
            Self::Scale(wanted) => {
                let configs: usize = wanted.config.iter().map(String::len).sum();
                wanted.image.len() + all(&wanted.annotations) + all(&wanted.limits) + configs
            }
            Self::Update { image, annotations } => image.as_str().len() + all(annotations),
        };
        OVERHEAD + texts
    }
}

/// The room for all commands of a host.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM as usize)))
    }
}

impl Room {
    /// Gives a command its room, until it is dropped.
    pub(crate) fn admit(&self, command: Command) -> Result<Admitted, ScaleError> {
        let bytes = u32::try_from(command.bytes()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.0).try_acquire_many_owned(bytes);
        let _room = room.map_err(|_| ScaleError::Busy)?;
        Ok(Admitted { command, _room })
    }
}

/// A command that there is room for.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) command: Command,
    _room: OwnedSemaphorePermit,
}

/// What is wished of one component.
#[derive(Debug, Default)]
pub(crate) struct CommandQueue {
    waiting: Vec<Admitted>,
    is_at_work: bool,
}

/// What came of putting a command in line.
#[derive(Debug)]
pub(crate) struct Enqueued {
    /// Whether nobody is at work, so that whoever put it has to begin.
    pub(crate) begins: bool,
    /// Those whose place it took.
    pub(crate) superseded: Vec<Command>,
}

impl CommandQueue {
    /// Puts a command in line, in the place of those that it supersedes.
    pub(crate) fn put(&mut self, admitted: Admitted) -> Enqueued {
        let later = &admitted.command;
        let are_many = self.waiting.len() >= IN_ORDER;
        let is_superseded =
            |command: &Command| (are_many || later.is_stop()) && command.is_superseded_by(later);
        let superseded = self
            .waiting
            .extract_if(.., |waiting| is_superseded(&waiting.command))
            .map(|waiting| waiting.command)
            // The same once more is told once.
            .filter(|command| command != later)
            .collect();
        self.waiting.push(admitted);
        let begins = !std::mem::replace(&mut self.is_at_work, true);
        Enqueued { begins, superseded }
    }

    /// Whether nothing is being done, and nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_at_work && self.waiting.is_empty()
    }

    /// The next command; nobody is at work any more when there is none.
    pub(crate) fn next(&mut self) -> Option<Admitted> {
        self.is_at_work = !self.waiting.is_empty();
        self.is_at_work.then(|| self.waiting.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(image: &str, count: u32) -> Command {
        Command::Scale(Wanted {
            image: image.to_owned(),
            count,
            ..Wanted::default()
        })
    }

    fn update(image: &str) -> Command {
        Command::Update {
            image: ImageRef::new(image).unwrap(),
            annotations: StringMap::new(),
        }
    }

    /// What is left of some commands, and how many were told that they were superseded.
    fn left(all: Vec<Command>) -> (Vec<Command>, usize) {
        let (room, mut commands) = (Room::default(), CommandQueue::default());
        let put = all
            .into_iter()
            .map(|command| commands.put(room.admit(command).unwrap()));
        let told = put.map(|put| put.superseded.len()).sum();
        let left = std::iter::from_fn(|| commands.next().map(|next| next.command));
        (left.collect(), told)
    }

    #[test]
    fn a_few_are_fulfilled_in_their_order_and_of_many_the_last_of_a_kind() {
        let few = vec![update("b"), scale("a", 2), update("c"), scale("a", 3)];
        assert_eq!(left(few.clone()), (few, 0));
        let (some, told) = left((1..=1000).map(|count| scale("a", count)).collect());
        assert_eq!(some.last(), Some(&scale("a", 1000)));
        assert!(some.len() <= IN_ORDER, "{}", some.len());
        assert_eq!(told, 1000 - some.len());
        let (both, _) = left(
            (1..=1000)
                .flat_map(|count| [update("b"), scale("a", count)])
                .collect(),
        );
        assert!(both.ends_with(&[update("b"), scale("a", 1000)]) && both.len() <= IN_ORDER + 1);
    }

    #[test]
    fn a_stop_goes_before_all_and_a_start_after_it_is_another_one() {
        let stop = || scale("a", 0);
        let stopped = vec![scale("a", 2), update("b"), stop()];
        assert_eq!(left(stopped), (vec![stop()], 2));
        let moved = vec![scale("a", 2), stop(), scale("b", 1), update("c")];
        assert_eq!(left(moved), (vec![stop(), scale("b", 1), update("c")], 1));
    }

    #[test]
    fn whoever_puts_the_first_begins_and_begins_again_after_the_last() {
        let (room, mut commands) = (Room::default(), CommandQueue::default());
        for _ in 0..2 {
            assert!(commands.put(room.admit(scale("a", 1)).unwrap()).begins);
            assert!(commands.next().is_some());
            assert!(!commands.put(room.admit(scale("a", 2)).unwrap()).begins);
            assert!(commands.next().is_some() && commands.next().is_none());
        }
    }

    #[test]
    fn wishes_of_many_components_have_a_bound_and_give_their_room_back() {
        let room = Room::default();
        let large = || scale(&"x".repeat(1 << 20), 1);
        let admitted: Vec<_> = (0..64).map_while(|_| room.admit(large()).ok()).collect();
        assert_eq!(admitted.len(), 63);
        assert!(matches!(room.admit(large()), Err(ScaleError::Busy)));
        drop(admitted);
        assert!(room.admit(large()).is_ok());
    }
}
