//! What the front door asks of the log behind it: take these records of one key, and tell when each is acknowledged.

use tokio::sync::oneshot;

/// Where records go. What implements it owns the client of the cluster, its retries and its bound on what is in flight.
pub trait Log: Send + Sync + 'static {
    /// Hands over the records of one key, in order: all of them or none. The receipt comes true when each has an outcome,
    /// which must happen within the acknowledgement's deadline, whatever the cluster does.
    ///
    /// # Errors
    /// If nothing was taken.
    fn append(&self, key: &str, records: Records) -> Result<Receipt, Refused>;

    /// Whether records would probably be acknowledged now.
    ///
    /// # Errors
    /// Why not, for people.
    fn ready(&self) -> Result<(), String>;
}

/// Comes true when every record of an [`append`](Log::append) has an outcome.
pub type Receipt = oneshot::Receiver<Appended>;

/// What became of the records that were handed over together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// How many the cluster acknowledged.
    pub acknowledged: u32,
    /// How many were certainly not written.
    pub not_written: u32,
    /// How many may have been written: they were sent, and not answered in time.
    pub unknown: u32,
    /// Why the first that was not acknowledged was not.
    pub why: Option<String>,
}

/// Why the log took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As much is in flight as may be.
    #[error("as many metrics wait for the cluster as may: it is slower than what comes in")]
    Full,
    /// It cannot be sent at all now.
    #[error("the client of the cluster does not take it: {0}")]
    Closed(String),
}

/// Records one after the other in one piece of memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// Nothing yet, with room for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    /// Writes one more.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut records = Records::with_capacity(8);
        assert!(records.is_empty());
        for text in ["one", "", "three"] {
            records.push(|bytes| bytes.extend_from_slice(text.as_bytes()));
        }
        assert_eq!(records.len(), 3);
        assert_eq!(records.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
    }
}
