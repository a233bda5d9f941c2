//! Samples that wait until the timeline of their time is known. They stay in the batches in which they came: a flood is
//! not looked through sample by sample each time some are ripe.

use crate::sample::{DeliverySample, SendSample};

/// A sample that belongs to a moment.
pub(crate) trait At: Copy {
    /// When it became known, µs.
    fn at_us(&self) -> i64;
}

impl At for SendSample {
    fn at_us(&self) -> i64 {
        self.done_us
    }
}

impl At for DeliverySample {
    fn at_us(&self) -> i64 {
        self.delivered_us
    }
}

#[derive(Debug)]
struct Batch<T> {
    first_us: i64,
    last_us: i64,
    samples: Vec<T>,
}

impl<T: At> Batch<T> {
    /// `None` of no samples.
    fn new(samples: Vec<T>) -> Option<Self> {
        let times = samples.iter().map(At::at_us);
        let (first_us, last_us) = times.fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(at), last.max(at)));
        (first_us <= last_us).then_some(Self { first_us, last_us, samples })
    }
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Held<T> {
    batches: Vec<Batch<T>>,
    len: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { batches: Vec::new(), len: 0 }
    }
}

impl<T: At> Held<T> {
    /// How many samples wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// More samples; the time of the latest of them, if there is any.
    pub(crate) fn extend(&mut self, samples: &[T]) -> Option<i64> {
        let batch = Batch::new(samples.to_vec())?;
        let last_us = batch.last_us;
        self.len += samples.len();
        self.batches.push(batch);
        Some(last_us)
    }

    /// Takes out everything up to and with `ripe_us`, in the order of its coming; so stays what is left.
    pub(crate) fn take(&mut self, ripe_us: i64) -> Vec<T> {
        let mut ripe = Vec::new();
        let mut left = Vec::with_capacity(self.batches.len());
        for batch in self.batches.drain(..) {
            if batch.last_us <= ripe_us {
                ripe.extend_from_slice(&batch.samples);
            } else if batch.first_us > ripe_us {
                left.push(batch);
            } else {
                let (taken, rest): (Vec<T>, Vec<T>) = batch.samples.iter().partition(|one| one.at_us() <= ripe_us);
                ripe.extend_from_slice(&taken);
                left.extend(Batch::new(rest));
            }
        }
        self.batches = left;
        self.len -= ripe.len();
        ripe
    }

    /// The moment up to which half of what waits lies, or more: to the end of a batch, so that no sample is looked at.
    pub(crate) fn median_us(&self) -> Option<i64> {
        let mut ends: Vec<(i64, usize)> =
            self.batches.iter().map(|batch| (batch.last_us, batch.samples.len())).collect();
        ends.sort_unstable();
        let mut before = 0;
        let reached = ends.into_iter().find(|(_, samples)| {
            before += samples;
            before * 2 >= self.len
        });
        reached.map(|(last_us, _)| last_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl At for i64 {
        fn at_us(&self) -> i64 {
            *self
        }
    }

    #[test]
    fn what_is_ripe_comes_in_its_order_and_the_rest_stays() {
        let mut held = Held::default();
        assert_eq!((held.extend(&[]), held.median_us(), held.take(i64::MAX)), (None, None, vec![]));
        assert_eq!(held.extend(&[1_i64, 3, 2]), Some(3));
        assert_eq!(held.extend(&[7, 4, 9]), Some(9));
        assert_eq!(held.extend(&[20, 10]), Some(20));
        assert_eq!((held.len(), held.median_us()), (8, Some(9)));
        assert!(held.take(0).is_empty());
        assert_eq!(held.take(7), [1, 3, 2, 7, 4]);
        assert_eq!(held.len(), 3);
        assert_eq!(held.take(10), [9, 10]);
        assert_eq!(held.take(i64::MAX), [20]);
        assert_eq!(held.len(), 0);
    }
}
