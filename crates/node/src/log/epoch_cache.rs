//! Which leader epoch began at which offset (KIP-101): what replicas compare to find where their logs part. Kept as
//! Kafka's `LeaderEpochFileCache` and written in the text form of its `leader-epoch-checkpoint`.

use std::fmt::Write as _;

/// A leader epoch and the offset of the first record that could be written in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// Leader epoch.
    pub epoch: i32,
    /// Where it begins.
    pub start_offset: i64,
}

/// The answer to "where does this epoch end in your log": Kafka's OffsetForLeaderEpoch, and the divergence check of Fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest epoch of the log that is not above the one asked for; −1 if that cannot be said.
    pub epoch: i32,
    /// Where it ends, exclusive; −1 if that cannot be said.
    pub end_offset: i64,
}

impl EpochEnd {
    /// Kafka's (−1, −1).
    pub const UNKNOWN: Self = Self { epoch: -1, end_offset: -1 };
}

/// The epochs of one log, ascending in both fields. Every method that changes it says whether it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    /// All entries, ascending.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The last epoch.
    #[must_use]
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|e| e.epoch)
    }

    /// Where an epoch begins.
    #[must_use]
    pub fn start_of(&self, epoch: i32) -> Option<i64> {
        self.entries.binary_search_by_key(&epoch, |e| e.epoch).ok().map(|n| self.entries[n].start_offset)
    }

    /// The epoch that an offset belongs to.
    #[must_use]
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|e| e.start_offset <= offset);
        after.checked_sub(1).map(|n| self.entries[n].epoch)
    }

    /// An epoch begins at an offset. Entries that contradict it go: those of the same or a later epoch, and those that
    /// begin no earlier.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if self.entries.last().is_some_and(|last| last.epoch == epoch && last.start_offset <= start_offset) {
            return false;
        }
        while self.entries.last().is_some_and(|e| e.epoch >= epoch || e.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The log ends at an offset now: epochs that begin there or later go.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let kept = self.entries.partition_point(|e| e.start_offset < end_offset);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// The log starts at an offset now: epochs that ended before go, and the one that holds it begins there.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let before = self.entries.partition_point(|e| e.start_offset <= start_offset);
        if before == 0 || (before == 1 && self.entries[0].start_offset == start_offset) {
            return false;
        }
        self.entries.drain(..before - 1);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// Nothing is known any more.
    pub fn clear(&mut self) -> bool {
        let changed = !self.entries.is_empty();
        self.entries.clear();
        changed
    }

    /// Kafka's rule: the largest epoch that is not above the one asked for, with the start of the next one as its end;
    /// the last epoch ends where the log does; unknown for an epoch above all; and where all are above, the asked epoch
    /// with the first one's start.
    #[must_use]
    pub fn end_offset_for(&self, epoch: i32, log_end: i64) -> EpochEnd {
        if epoch < 0 {
            return EpochEnd::UNKNOWN;
        }
        if self.latest() == Some(epoch) {
            return EpochEnd { epoch, end_offset: log_end };
        }
        let above = self.entries.partition_point(|e| e.epoch <= epoch);
        let Some(next) = self.entries.get(above) else { return EpochEnd::UNKNOWN };
        let floor = above.checked_sub(1).map_or(epoch, |n| self.entries[n].epoch);
        EpochEnd { epoch: floor, end_offset: next.start_offset }
    }

    /// Kafka's `leader-epoch-checkpoint`: version, count, then "epoch offset" a line.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for e in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", e.epoch, e.start_offset);
        }
        text
    }

    /// Reads what [`EpochCache::to_text`] wrote; says what is wrong otherwise.
    ///
    /// # Errors
    /// If the text has another form, or its entries do not ascend.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        match lines.next() {
            Some("0") => {}
            other => return Err(format!("version 0 is expected in the first line, found {other:?}")),
        }
        let count = lines.next().and_then(|line| line.parse::<usize>().ok());
        let count = count.ok_or("the second line is expected to be the number of entries")?;
        let mut cache = Self::default();
        for line in lines {
            let entry =
                line.split_once(' ').and_then(|(epoch, offset)| Some((epoch.parse().ok()?, offset.parse().ok()?)));
            let (epoch, start_offset) = entry.ok_or_else(|| format!("no epoch and offset: {line:?}"))?;
            let known = cache.entries.len();
            if !cache.assign(epoch, start_offset) || cache.entries.len() != known + 1 {
                return Err(format!("epochs and offsets must ascend: {line:?}"));
            }
        }
        if cache.entries.len() != count {
            return Err(format!("{count} entries announced, {} there", cache.entries.len()));
        }
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::default();
        for (epoch, start) in entries {
            assert!(cache.assign(*epoch, *start));
        }
        cache
    }

    fn end(epoch: i32, end_offset: i64) -> EpochEnd {
        EpochEnd { epoch, end_offset }
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins_and_the_last_where_the_log_does() {
        let cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(cache.end_offset_for(7, 35), end(7, 35));
        assert_eq!(cache.end_offset_for(4, 35), end(4, 30));
        assert_eq!(cache.end_offset_for(5, 35), end(4, 30), "the largest one not above");
        assert_eq!(cache.end_offset_for(1, 35), end(1, 10), "all are above");
        assert_eq!(cache.end_offset_for(8, 35), EpochEnd::UNKNOWN);
        assert_eq!(cache.end_offset_for(-1, 35), EpochEnd::UNKNOWN);
        assert_eq!(EpochCache::default().end_offset_for(0, 0), EpochEnd::UNKNOWN);
    }

    #[test]
    fn an_epoch_in_which_nothing_was_written_gives_way_to_the_next() {
        let mut cache = cache(&[(1, 0), (2, 5)]);
        assert!(cache.assign(3, 5));
        assert_eq!(
            cache.entries(),
            [EpochEntry { epoch: 1, start_offset: 0 }, EpochEntry { epoch: 3, start_offset: 5 }]
        );
        assert!(!cache.assign(3, 9), "it began already");
    }

    #[test]
    fn cuts_at_either_end_keep_what_is_still_true() {
        let mut cut = cache(&[(1, 0), (2, 5), (3, 9)]);
        assert!(!cut.truncate_from_end(10));
        assert!(cut.truncate_from_end(9));
        assert_eq!(cut.latest(), Some(2));
        assert!(cut.truncate_from_start(7));
        assert_eq!(cut.entries(), [EpochEntry { epoch: 2, start_offset: 7 }]);
        assert!(!cut.truncate_from_start(7));
        assert_eq!((cut.epoch_at(6), cut.epoch_at(7)), (None, Some(2)));
    }

    #[test]
    fn the_checkpoint_is_kafkas_text_and_a_damaged_one_is_refused() {
        let cache = cache(&[(1, 0), (2, 5)]);
        assert_eq!(cache.to_text(), "0\n2\n1 0\n2 5\n");
        assert_eq!(EpochCache::parse(&cache.to_text()), Ok(cache));
        assert_eq!(EpochCache::parse("0\n0\n"), Ok(EpochCache::default()));
        for bad in ["", "1\n0\n", "0\nx\n", "0\n2\n1 0\n", "0\n1\n1\n", "0\n2\n2 0\n1 5\n", "0\n2\n1 5\n2 5\n"] {
            assert!(EpochCache::parse(bad).is_err(), "{bad:?}");
        }
    }
}
