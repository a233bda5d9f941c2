//! Bitmaps of 65,536 positions, made for ranges: runs of consecutive sequences and offsets.
//!
//! Nothing here knows what a position means.

use std::collections::BTreeMap;

/// Positions in one chunk.
pub const CHUNK: u32 = 65_536;
const WORDS: usize = CHUNK as usize / 64;

/// Up to this many scattered bits are kept as a list.
const FEW_MAX: usize = 512;
/// A wider range goes to a map at once.
const FEW_RANGE_MAX: u32 = 64;

/// One chunk's bits. Empty and full chunks own no memory, a few bits a list; a map grows to its highest bit only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Bits {
    /// No bit is set.
    #[default]
    Empty,
    /// Every bit is set.
    Full,
    /// These are, in order.
    Few(Vec<u16>),
    /// Some are.
    Map(Map),
}

/// The bits of a chunk that is neither empty nor full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    words: Vec<u64>,
    ones: u32,
}

impl Bits {
    /// Sets `[from, to)` and returns how many of these bits were new.
    pub fn set_range(&mut self, from: u32, to: u32) -> u32 {
        debug_assert!(from <= to && to <= CHUNK, "range {from}..{to}");
        if from >= to {
            return 0;
        }
        if from == 0 && to == CHUNK {
            let before = self.ones();
            *self = Self::Full;
            return CHUNK - before;
        }
        if let Some(added) = self.set_few(from, to) {
            return added;
        }
        let Self::Map(map) = self else { return 0 };
        let added = map.set_range(from, to);
        if map.ones == CHUNK {
            *self = Self::Full;
        }
        added
    }

    /// Sets `[from, to)` if none of these bits is set; says whether it did.
    #[inline]
    pub fn set_if_clear(&mut self, from: u32, to: u32) -> bool {
        // Short runs in a map that is long enough: one word to look at and to write.
        if let Self::Map(map) = self
            && from < to
            && from / 64 == (to - 1) / 64
            && let Some(word) = map.words.get_mut(from as usize / 64)
        {
            let mask = mask_of(from as usize / 64, from, to);
            if *word & mask != 0 {
                return false;
            }
            *word |= mask;
            map.ones += to - from;
            if map.ones == CHUNK {
                *self = Self::Full;
            }
            return true;
        }
        let clear = self.count_range(from, to) == 0;
        if clear {
            self.set_range(from, to);
        }
        clear
    }

    /// Sets the range in the list, while there are few; else makes the list a map and leaves it to the map.
    fn set_few(&mut self, from: u32, to: u32) -> Option<u32> {
        match self {
            Self::Full | Self::Map(_) => return None,
            Self::Empty => *self = Self::Few(Vec::new()),
            Self::Few(_) => {}
        }
        let Self::Few(few) = self else { return None };
        if to - from > FEW_RANGE_MAX || few.len() + (to - from) as usize > FEW_MAX {
            let mut map = Map { words: Vec::new(), ones: 0 };
            few.iter().for_each(|bit| {
                map.set_range(u32::from(*bit), u32::from(*bit) + 1);
            });
            *self = Self::Map(map);
            return None;
        }
        let before = few.len();
        let start = few.partition_point(|bit| u32::from(*bit) < from);
        let end = few.partition_point(|bit| u32::from(*bit) < to);
        // Positions in a chunk fit 16 bits.
        few.splice(start..end, (from..to).map(|bit| bit as u16));
        Some((few.len() - before) as u32)
    }

    /// How many of `[from, to)` are set.
    pub fn count_range(&self, from: u32, to: u32) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Few(few) => {
                let below = |limit: u32| few.partition_point(|bit| u32::from(*bit) < limit) as u32;
                below(to).saturating_sub(below(from))
            }
            Self::Full => to.saturating_sub(from),
            Self::Map(map) => map.count_range(from, to),
        }
    }

    /// Whether the bit is set.
    pub fn contains(&self, at: u32) -> bool {
        self.word(at as usize / 64) >> (at % 64) & 1 == 1
    }

    /// Number of set bits.
    pub fn ones(&self) -> u32 {
        match self {
            Self::Empty => 0,
            Self::Full => CHUNK,
            Self::Few(few) => few.len() as u32,
            Self::Map(map) => map.ones,
        }
    }

    /// Whether every bit is set.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full)
    }

    /// Whether no bit is set.
    pub fn is_empty(&self) -> bool {
        self.ones() == 0
    }

    /// The 64 bits from `index * 64`.
    pub fn word(&self, index: usize) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Full => u64::MAX,
            Self::Few(few) => {
                let start = index as u32 * 64;
                let inside = &few[few.partition_point(|bit| u32::from(*bit) < start)..];
                let inside = inside.iter().take_while(|bit| u32::from(**bit) < start + 64);
                inside.fold(0, |word, bit| word | 1 << (u32::from(*bit) - start))
            }
            Self::Map(map) => map.words.get(index).copied().unwrap_or(0),
        }
    }

    /// Bytes allocated for the bits.
    pub fn allocated_bytes(&self) -> usize {
        match self {
            Self::Map(map) => map.words.capacity() * size_of::<u64>(),
            Self::Few(few) => few.capacity() * size_of::<u16>(),
            Self::Empty | Self::Full => 0,
        }
    }
}

impl Map {
    fn set_range(&mut self, from: u32, to: u32) -> u32 {
        let (first, last) = (from as usize / 64, (to as usize - 1) / 64);
        if last >= self.words.len() {
            if last >= self.words.capacity() {
                let target = (last + 1).next_power_of_two().clamp(4, WORDS);
                self.words.reserve_exact(target - self.words.len());
            }
            self.words.resize(last + 1, 0);
        }
        let mut added = 0;
        for index in first..=last {
            let mask = mask_of(index, from, to);
            added += (mask & !self.words[index]).count_ones();
            self.words[index] |= mask;
        }
        self.ones += added;
        added
    }

    fn count_range(&self, from: u32, to: u32) -> u32 {
        if from >= to {
            return 0;
        }
        let (first, last) = (from as usize / 64, (to as usize - 1) / 64);
        if first >= self.words.len() {
            return 0;
        }
        let last = last.min(self.words.len() - 1);
        (first..=last).map(|index| (self.words[index] & mask_of(index, from, to)).count_ones()).sum()
    }
}

/// The bits of word `index` that lie in `[from, to)`; the word must touch the range.
#[inline]
fn mask_of(index: usize, from: u32, to: u32) -> u64 {
    let start = index as u32 * 64;
    let low = from.saturating_sub(start).min(63);
    let high = (to - start).min(64);
    (u64::MAX << low) & (u64::MAX >> (64 - high))
}

/// Calls `each(from, to)` for every maximal run of set bits in the words that `word` computes, within `[from, to)`.
pub fn runs_of(from: u32, to: u32, word: impl Fn(usize) -> u64, mut each: impl FnMut(u32, u32)) {
    if from >= to {
        return;
    }
    let mut open: Option<u32> = None;
    for index in from as usize / 64..=(to as usize - 1) / 64 {
        let bits = word(index) & mask_of(index, from, to);
        let start = index as u32 * 64;
        let mut at = 0;
        while at < 64 {
            if let Some(begun) = open {
                let ones = (bits >> at).trailing_ones().min(64 - at);
                at += ones;
                if at < 64 {
                    each(begun, start + at);
                    open = None;
                }
            } else {
                let rest = bits >> at;
                if rest == 0 {
                    break;
                }
                at += rest.trailing_zeros();
                open = Some(start + at);
            }
        }
    }
    if let Some(begun) = open {
        each(begun, to);
    }
}

/// Values per chunk of 65,536 positions of an unbounded line. The chunk in use is kept at hand, because runs come in
/// order; the others are in a tree, so that a wild position costs one chunk and not the line before it.
#[derive(Debug, Clone, Default)]
pub struct Chunked<T> {
    hot: Option<(u64, T)>,
    cold: BTreeMap<u64, T>,
}

impl<T: Default> Chunked<T> {
    /// The value of a chunk, made if it is new.
    #[inline]
    pub fn at(&mut self, chunk: u64) -> &mut T {
        if self.hot.as_ref().is_none_or(|(hot, _)| *hot != chunk) {
            let value = self.cold.remove(&chunk).unwrap_or_default();
            if let Some((old, value)) = self.hot.replace((chunk, value)) {
                self.cold.insert(old, value);
            }
        }
        &mut self.hot.get_or_insert_with(|| (chunk, T::default())).1
    }
}

impl<T> Chunked<T> {
    /// The value of a chunk, if there is one.
    pub fn get(&self, chunk: u64) -> Option<&T> {
        match &self.hot {
            Some((hot, value)) if *hot == chunk => Some(value),
            _ => self.cold.get(&chunk),
        }
    }

    /// Every chunk in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let hot = self.hot.as_ref().map(|(chunk, value)| (*chunk, value));
        let split = hot.map_or(0, |(chunk, _)| chunk);
        let before = self.cold.range(..split).map(|(chunk, value)| (*chunk, value));
        let after = self.cold.range(split..).map(|(chunk, value)| (*chunk, value));
        before.chain(hot).chain(after)
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.cold.len() + usize::from(self.hot.is_some())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Splits `[from, from + count)` at chunk borders: `(chunk, first bit, one past the last bit, position of the first)`.
#[inline]
pub fn pieces(from: u64, count: u64) -> impl Iterator<Item = (u64, u32, u32, u64)> {
    let end = from + count;
    let mut at = from;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let chunk = at / u64::from(CHUNK);
        let stop = end.min((chunk + 1) * u64::from(CHUNK));
        let piece = (chunk, (at % u64::from(CHUNK)) as u32, (stop - chunk * u64::from(CHUNK)) as u32, at);
        at = stop;
        Some(piece)
    })
}

/// How many bits of `[from, to)` are set. Only chunks that exist are looked at: the range may be as wide as a wild
/// position.
pub fn count_range<T>(chunks: &Chunked<T>, bits: impl Fn(&T) -> &Bits, from: u64, to: u64) -> u64 {
    if from >= to {
        return 0;
    }
    let (first, last) = (from / u64::from(CHUNK), (to - 1) / u64::from(CHUNK));
    let clip = |chunk: u64, value: &T| {
        let start = chunk * u64::from(CHUNK);
        let a = from.saturating_sub(start).min(u64::from(CHUNK)) as u32;
        let b = to.saturating_sub(start).min(u64::from(CHUNK)) as u32;
        u64::from(bits(value).count_range(a, b))
    };
    if last - first < chunks.len() as u64 {
        (first..=last).filter_map(|chunk| chunks.get(chunk).map(|value| clip(chunk, value))).sum()
    } else {
        let inside = chunks.iter().filter(|(chunk, _)| (first..=last).contains(chunk));
        inside.map(|(chunk, value)| clip(chunk, value)).sum()
    }
}

/// A set of positions.
#[derive(Debug, Clone, Default)]
pub struct PositionSet {
    chunks: Chunked<Bits>,
}

impl PositionSet {
    /// Adds `[from, from + count)`; returns how many were new.
    pub fn insert(&mut self, from: u64, count: u64) -> u64 {
        pieces(from, count).map(|(chunk, a, b, _)| u64::from(self.chunks.at(chunk).set_range(a, b))).sum()
    }

    /// The bits of one chunk.
    pub fn chunk(&self, chunk: u64) -> &Bits {
        self.chunks.get(chunk).unwrap_or(&Bits::Empty)
    }

    /// Every chunk in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Bits)> {
        self.chunks.iter()
    }

    /// How many of `[from, to)` are in it.
    pub fn count(&self, from: u64, to: u64) -> u64 {
        count_range(&self.chunks, |bits| bits, from, to)
    }

    /// Bytes allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.chunks.iter().map(|(_, bits)| bits.allocated_bytes() + size_of::<(u64, Bits)>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chunk_that_fills_up_lets_its_memory_go() {
        let mut bits = Bits::default();
        assert_eq!(bits.set_range(1, CHUNK), CHUNK - 1);
        assert_eq!(bits.allocated_bytes(), 8_192);
        assert!(!bits.is_full());
        assert_eq!(bits.set_range(0, 1), 1);
        assert!(bits.is_full());
        assert_eq!(bits.allocated_bytes(), 0);
        assert_eq!(bits.set_range(7, 99), 0);
    }

    #[test]
    fn a_little_used_chunk_stays_little() {
        let mut bits = Bits::default();
        bits.set_range(0, 300);
        assert!(bits.allocated_bytes() <= 64, "{}", bits.allocated_bytes());
        let mut bits = Bits::default();
        (0..100).for_each(|i| assert_eq!(bits.set_range(i * 650, i * 650 + 1), 1));
        assert!(bits.allocated_bytes() <= 256, "{}", bits.allocated_bytes());
    }

    #[test]
    fn chunks_come_in_order_wherever_the_hot_one_is() {
        for last in [0, 3, 9, u64::MAX] {
            let mut chunked = Chunked::<u8>::default();
            for chunk in [9, 3, 0, u64::MAX, last] {
                *chunked.at(chunk) += 1;
            }
            let chunks: Vec<u64> = chunked.iter().map(|(chunk, _)| chunk).collect();
            assert_eq!(chunks, [0, 3, 9, u64::MAX]);
            assert_eq!(chunked.get(last), Some(&2));
            assert_eq!(chunked.len(), 4);
        }
    }

    proptest! {
        #[test]
        fn bits_are_a_set_of_numbers(
            few in prop::collection::vec((0..CHUNK, 0..70_u32), 0..30),
            ranges in prop::collection::vec((0..CHUNK, 0..3_000_u32), 0..20),
        ) {
            let mut bits = Bits::default();
            let mut model = std::collections::BTreeSet::new();
            for (from, len) in few.into_iter().chain(ranges) {
                let to = (from + len).min(CHUNK);
                let before = model.len();
                model.extend(from..to);
                prop_assert_eq!(bits.set_range(from, to) as usize, model.len() - before);
                prop_assert_eq!(bits.count_range(from, to), to - from);
                let next = (to, (to + len % 64).min(CHUNK));
                let clear = (next.0..next.1).all(|bit| !model.contains(&bit));
                prop_assert_eq!(bits.set_if_clear(next.0, next.1), clear);
                if clear {
                    model.extend(next.0..next.1);
                }
            }
            prop_assert_eq!(bits.ones() as usize, model.len());
            let mut back = std::collections::BTreeSet::new();
            let mut last_end = None;
            runs_of(0, CHUNK, |index| bits.word(index), |from, to| {
                assert!(last_end.is_none_or(|end| end < from), "runs are maximal");
                last_end = Some(to);
                back.extend(from..to);
            });
            prop_assert_eq!(back, model);
        }

        #[test]
        fn runs_keep_to_their_window(set in (0..CHUNK, 0..CHUNK), window in (0..CHUNK, 0..CHUNK)) {
            let mut bits = Bits::default();
            bits.set_range(set.0.min(set.1), set.0.max(set.1));
            let (from, to) = (window.0.min(window.1), window.0.max(window.1));
            let mut count = 0;
            runs_of(from, to, |index| bits.word(index), |a, b| { assert!(a >= from && b <= to && a < b); count += b - a; });
            prop_assert_eq!(count, bits.count_range(from, to));
        }
    }
}
