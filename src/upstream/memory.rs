//! Bytes in flight: bodies that are read whole, and answers on their way to clients, in all.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Accounts are kept in units of this many bytes.
const UNIT: usize = 1 << 10;

/// The default budget, in bytes.
const DEFAULT_BYTES: usize = 256 << 20;

/// The bytes that may be in flight at a time. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    units: Arc<Semaphore>,
    bytes: usize,
}

/// A share of the budget; given back with its value.
#[derive(Debug)]
pub struct Reserved {
    budget: MemoryBudget,
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

/// The budget does not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{needed} bytes do not fit into those that all requests together may take in memory, {budget} (limits.in_flight)"
)]
pub struct Exhausted {
    /// What one request needs.
    pub needed: usize,
    /// The budget.
    pub budget: usize,
}

impl Exhausted {
    /// Whether it never fits, even alone: coming again does not help.
    #[must_use]
    pub const fn is_lasting(&self) -> bool {
        self.needed > self.budget
    }

    /// The same, said of a request that holds so much already.
    #[must_use]
    pub(crate) const fn beside(self, held: usize) -> Self {
        Self { needed: self.needed.saturating_add(held), ..self }
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl MemoryBudget {
    /// So many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT).clamp(1, u32::MAX as usize);
        Self { units: Arc::new(Semaphore::new(units)), bytes }
    }

    /// A share of nothing, to grow.
    #[must_use]
    pub fn open(&self) -> Reserved {
        Reserved { budget: self.clone(), permit: None, bytes: 0 }
    }

    /// A share of `bytes`, now or not at all.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub fn reserve(&self, bytes: usize) -> Result<Reserved, Exhausted> {
        let mut reserved = self.open();
        reserved.grow_to(bytes)?;
        Ok(reserved)
    }

    /// The bytes that are reserved.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let units = (self.bytes / UNIT).clamp(1, u32::MAX as usize);
        units.saturating_sub(self.units.available_permits()) * UNIT
    }
}

impl Reserved {
    /// Appends `data` to what is `held` of a body of at most `limit` bytes, `expected` if it says how many. Room is counted
    /// before it is made: a buffer that doubles has up to twice of what it holds.
    ///
    /// # Errors
    /// [`Exhausted`]; nothing was appended.
    pub fn append(
        &mut self,
        held: &mut BytesMut,
        data: &[u8],
        expected: usize,
        limit: usize,
    ) -> Result<(), Exhausted> {
        let needed = held.len() + data.len();
        if needed > held.capacity() {
            let room = needed.max(expected).max(2 * held.capacity()).min(limit.max(needed));
            self.grow_to(room)?;
            if held.is_empty() {
                *held = BytesMut::with_capacity(room);
            } else {
                // Not `reserve`, which may make more room than was counted.
                let mut larger = BytesMut::with_capacity(room);
                larger.extend_from_slice(held);
                *held = larger;
            }
        }
        held.extend_from_slice(data);
        Ok(())
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over a share of the same budget.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        match (&mut self.permit, other.permit.take()) {
            (Some(permit), Some(more)) => permit.merge(more),
            (none @ None, more) => *none = more,
            (Some(_), None) => {}
        }
    }

    /// Grows to `bytes`; never shrinks.
    ///
    /// # Errors
    /// [`Exhausted`]; what was reserved stays.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let exhausted = Exhausted { needed: bytes, budget: self.budget.bytes };
        let units = (bytes - self.bytes).div_ceil(UNIT);
        let more = u32::try_from(units).map_err(|_| exhausted)?;
        let more = Arc::clone(&self.budget.units).try_acquire_many_owned(more).map_err(|_| exhausted)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        self.bytes += units * UNIT;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_until_the_budget_is_used_up_and_come_back_with_their_values() {
        let budget = MemoryBudget::new(100 << 10);
        let mut first = budget.reserve(10 << 10).unwrap();
        let second = budget.reserve(1).unwrap();
        assert_eq!(budget.in_use(), 11 << 10);
        first.grow_to(99 << 10).unwrap();
        first.grow_to(50 << 10).unwrap();
        let exhausted = first.grow_to(100 << 10).unwrap_err();
        assert_eq!(exhausted, Exhausted { needed: 100 << 10, budget: 100 << 10 });
        assert!(!exhausted.is_lasting() && exhausted.beside(1).is_lasting());
        assert_eq!(budget.in_use(), 100 << 10);
        drop(second);
        first.grow_to(100 << 10).unwrap();
        drop(first);
        assert_eq!(budget.in_use(), 0);
        assert!(budget.reserve(101 << 10).unwrap_err().is_lasting());
        assert!(budget.reserve(usize::MAX).is_err());
    }

    #[test]
    fn what_is_read_takes_no_more_room_than_was_counted() {
        let budget = MemoryBudget::new(1 << 20);
        for expected in [0, 300_000, 10_000_000] {
            let (mut reserved, mut held) = (budget.open(), BytesMut::new());
            for _ in 0..300 {
                reserved.append(&mut held, &[1; 1_000], expected.min(400_000), 400_000).unwrap();
                assert!(held.capacity() <= reserved.bytes() && reserved.bytes() <= 401_408);
            }
            assert_eq!((held.len(), held.iter().all(|byte| *byte == 1)), (300_000, true));
        }
        let (mut reserved, mut held) = (budget.open(), BytesMut::new());
        assert!(reserved.append(&mut held, &[1], 2 << 20, 4 << 20).is_err());
        assert_eq!((held.len(), budget.in_use()), (0, 0));
    }
}
