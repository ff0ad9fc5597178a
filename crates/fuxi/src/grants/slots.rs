//! Things with a number each, in one piece of memory. A number is used again once its thing is gone.

use std::ops::{Index, IndexMut};

#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

/// A place in a list of slots, which are at most as many as there are 32-bit numbers.
pub(super) fn position(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends before four billion things")
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { things: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.things[slot as usize] = Some(thing);
            return slot;
        }
        self.things.push(Some(thing));
        position(self.things.len() - 1)
    }

    pub(super) fn remove(&mut self, slot: u32) -> T {
        self.free.push(slot);
        self.things[slot as usize].take().expect("who knows a number knows that its thing is there")
    }

    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        self.things.get(slot as usize)?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.things).filter_map(|(slot, thing)| Some((slot, thing.as_ref()?)))
    }
}

impl<T> Index<u32> for Slots<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        self.things[slot as usize].as_ref().expect("who knows a number knows that its thing is there")
    }
}

impl<T> IndexMut<u32> for Slots<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        self.things[slot as usize].as_mut().expect("who knows a number knows that its thing is there")
    }
}
