//! Simulated time and the heap of what is to happen: earliest first, and of two at one time the one that was put in first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Simulated time in microseconds since the run began.
pub type Micros = u64;

/// One millisecond.
pub const MILLISECOND: Micros = 1_000;
/// One second.
pub const SECOND: Micros = 1_000_000;

struct Entry<T> {
    at: Micros,
    order: u64,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The greatest of a `BinaryHeap` comes out first.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What is to happen, by time.
pub struct Heap<T> {
    entries: BinaryHeap<Entry<T>>,
    order: u64,
}

impl<T> Default for Heap<T> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), order: 0 }
    }
}

impl<T> Heap<T> {
    /// Puts an item in.
    pub fn push(&mut self, at: Micros, item: T) {
        self.order += 1;
        self.entries.push(Entry { at, order: self.order, item });
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<(Micros, T)> {
        self.entries.pop().map(|entry| (entry.at, entry.item))
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is to happen any more.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_by_time_and_then_in_the_order_they_were_put_in() {
        let mut heap = Heap::default();
        for (at, item) in [(5, 'c'), (1, 'a'), (5, 'd'), (3, 'b')] {
            heap.push(at, item);
        }
        let order: String = std::iter::from_fn(|| heap.pop()).map(|(_, item)| item).collect();
        assert_eq!(order, "abcd");
    }
}
