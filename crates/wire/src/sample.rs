//! Random messages for tests: every structure that is declared can make one of itself, with just those fields that the
//! version has and null only where it may be. Behind the feature `sample`, which no product build turns on.

use bytes::Bytes;

use crate::primitives::{Context, Structure, TaggedOption, Uuid};
use crate::records::Records;

/// A reproducible source of choices (SplitMix64): the same seed, the same messages, on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "a choice of nothing");
        (self.bits() % end as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A value that can make a random one of itself.
pub trait Sample: Sized {
    /// Makes one, as `context`'s version could carry it.
    fn sample(random: &mut Random, context: Context) -> Self;
}

/// One for a field that may be null or not.
pub(crate) fn nullable<T: Sample>(random: &mut Random, null: bool, context: Context) -> Option<T>
where
    Option<T>: Sample,
{
    if null { Sample::sample(random, context) } else { Some(Sample::sample(random, context)) }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        impl Sample for $ty {
            fn sample(random: &mut Random, _: Context) -> Self {
                match random.below(8) {
                    0 => 0,
                    1 => Self::MAX,
                    2 => Self::MIN,
                    3 => Self::MIN.wrapping_sub(1) | 1,
                    4 | 5 => random.below(100) as Self,
                    _ => random.bits() as Self,
                }
            }
        }
    )*};
}

numbers! { i8 i16 u16 i32 u32 i64 }

impl Sample for bool {
    fn sample(random: &mut Random, _: Context) -> Self {
        random.once_in(2)
    }
}

impl Sample for Uuid {
    fn sample(random: &mut Random, _: Context) -> Self {
        if random.once_in(4) {
            return [0; 16];
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.bits().to_be_bytes());
        id[8..].copy_from_slice(&random.bits().to_be_bytes());
        id
    }
}

impl Sample for String {
    fn sample(random: &mut Random, _: Context) -> Self {
        // Long enough at times that a compact length takes two bytes.
        let length = if random.once_in(50) { 100 + random.below(200) } else { random.below(12) };
        (0..length).map(|_| ['a', 'Z', '0', '-', '.', '_', 'é', '日', '🦀'][random.below(9)]).collect()
    }
}

impl Sample for Bytes {
    fn sample(random: &mut Random, _: Context) -> Self {
        let length = if random.once_in(50) { 100 + random.below(200) } else { random.below(20) };
        (0..length).map(|_| random.bits() as u8).collect()
    }
}

impl Sample for Records {
    fn sample(random: &mut Random, context: Context) -> Self {
        Bytes::sample(random, context).into()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(random: &mut Random, context: Context) -> Self {
        (0..random.below(4)).map(|_| T::sample(random, context)).collect()
    }
}

impl<T: Sample + Structure> Sample for TaggedOption<T> {
    fn sample(random: &mut Random, context: Context) -> Self {
        Self(Sample::sample(random, context))
    }
}

macro_rules! options {
    ($([$($generic:tt)*] $ty:ty;)*) => {$(
        impl<$($generic)*> Sample for Option<$ty> {
            fn sample(random: &mut Random, context: Context) -> Self {
                (!random.once_in(4)).then(|| Sample::sample(random, context))
            }
        }
    )*};
}

options! {
    [] String;
    [] Bytes;
    [] Records;
    [T: Sample] Vec<T>;
    [T: Sample + Structure] T;
}
