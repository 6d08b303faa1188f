//! The open connections, and which of them goes first when there are too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No request yet: nothing, or a part of the first head.
    Fresh,
    /// A request is being read or answered.
    Active,
    /// Between two requests.
    Idle,
    /// A part of a further head.
    Heading,
}

/// One connection, as others see it.
#[derive(Debug)]
pub(super) struct Watched {
    /// And since when, where that was asked: nobody asks in the middle of a request, of which each look at the clock is a
    /// part.
    phase: Mutex<(Phase, Option<Instant>)>,
    /// Rung when the connection is given up.
    pub(super) given_up: Notify,
}

impl Watched {
    fn new() -> Self {
        Self { phase: Mutex::new((Phase::Fresh, Some(Instant::now()))), given_up: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Option<Instant>)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it does, and since when: about since the first look at it, which its own task takes at once.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        let (phase, since) = &mut *self.lock();
        (*phase, *since.get_or_insert_with(Instant::now))
    }

    /// Whether a request is being read or answered.
    pub(super) fn is_active(&self) -> bool {
        self.lock().0 == Phase::Active
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.lock() = (phase, None);
    }

    /// Bytes came in.
    pub(super) fn note_read(&self) {
        let mut held = self.lock();
        if held.0 == Phase::Idle {
            *held = (Phase::Heading, None);
        }
    }
}

#[derive(Default)]
struct Held {
    next: u64,
    open: HashMap<u64, Arc<Watched>>,
}

/// All open connections, at most so many.
pub(super) struct Connections {
    held: Mutex<Held>,
    most: usize,
}

/// A place among the connections; given back with its value.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    watched: Arc<Watched>,
}

impl Place {
    pub(super) const fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.held.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.id);
    }
}

/// Whether there is room.
pub(super) enum Admission {
    /// There was.
    Free(Place),
    /// There is, since another connection was given up.
    Evicted(Place),
    /// There is not: every connection is in the middle of a request.
    Full,
}

impl Connections {
    pub(super) fn new(most: usize) -> Self {
        Self { held: Mutex::default(), most }
    }

    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).open.len()
    }

    /// A place for a new connection.
    pub(super) fn admit(self: &Arc<Self>) -> Admission {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full = held.open.len() >= self.most;
        if full && !held.give_up_one() {
            return Admission::Full;
        }
        let id = held.next;
        held.next += 1;
        let watched = Arc::new(Watched::new());
        held.open.insert(id, Arc::clone(&watched));
        let place = Place { connections: Arc::clone(self), id, watched };
        if full { Admission::Evicted(place) } else { Admission::Free(place) }
    }

    /// Gives up the connection that has been without a request for the longest, if there is one.
    pub(super) fn give_up_one(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).give_up_one();
    }
}

impl Held {
    fn give_up_one(&mut self) -> bool {
        let idle = self.open.iter().filter(|(_, watched)| !watched.is_active());
        let idle = idle.map(|(id, watched)| (watched.phase().1, *id));
        let Some((_, oldest)) = idle.min() else { return false };
        if let Some(watched) = self.open.remove(&oldest) {
            watched.given_up.notify_one();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(admission: Admission) -> (Place, bool) {
        match admission {
            Admission::Free(place) => (place, false),
            Admission::Evicted(place) => (place, true),
            Admission::Full => panic!("full"),
        }
    }

    #[test]
    fn the_oldest_connection_without_a_request_goes_first() {
        let connections = Arc::new(Connections::new(3));
        let (busy, _) = place(connections.admit());
        let (idle, _) = place(connections.admit());
        let (fresh, _) = place(connections.admit());
        busy.watched().enter(Phase::Active);
        idle.watched().enter(Phase::Active);
        // Its idleness begins after the accepting of `fresh`.
        idle.watched().enter(Phase::Idle);
        let (first, evicted) = place(connections.admit());
        assert!(evicted && connections.len() == 3);
        drop(fresh);
        assert_eq!(connections.len(), 3, "a place that was taken away is not given back again");
        first.watched().enter(Phase::Active);
        let (second, evicted) = place(connections.admit());
        assert!(evicted);
        second.watched().enter(Phase::Active);
        assert!(matches!(connections.admit(), Admission::Full));
        drop(busy);
        assert!(matches!(connections.admit(), Admission::Free(_)));
    }

    #[test]
    fn a_head_that_began_is_timed_from_its_first_byte() {
        let watched = Watched::new();
        watched.note_read();
        assert_eq!(watched.phase().0, Phase::Fresh);
        watched.enter(Phase::Idle);
        watched.note_read();
        let begun = watched.phase();
        watched.note_read();
        assert_eq!((begun.0, watched.phase()), (Phase::Heading, begun));
    }
}
