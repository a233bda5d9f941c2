//! Records as a field of a message: what a leader sends is a list of parts, what arrives is one piece of the frame; and
//! the way from a produce request to batches that can be patched in place.

use bytes::{Bytes, BytesMut};

use crate::parts::{FileRange, Part, Sink};
use crate::primitives::{Context, Reader, Wire, WireError, put_length};

/// Records on their way out, part by part; decoded they are one part of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    parts: Vec<Part>,
}

impl Records {
    /// Bytes of all parts together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Part::is_empty)
    }

    /// These parts.
    #[must_use]
    pub fn from_parts(parts: Vec<Part>) -> Self {
        Self { parts }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.parts.push(Part::Bytes(bytes));
    }

    /// Appends a range of a file.
    pub fn push_file(&mut self, range: FileRange) {
        self.parts.push(Part::File(range));
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// All of it as bytes; copied only if there are several parts. What was decoded is one.
    ///
    /// # Panics
    /// If a range of a file is among the parts: nothing that was decoded has one.
    #[must_use]
    pub fn into_bytes(mut self) -> Bytes {
        if let [Part::Bytes(_)] = self.parts.as_slice()
            && let Some(Part::Bytes(bytes)) = self.parts.pop()
        {
            return bytes;
        }
        let mut whole = BytesMut::with_capacity(self.len());
        self.put(&mut whole);
        whole.freeze()
    }

    fn put(&self, out: &mut impl Sink) {
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => out.put_shared(bytes),
                Part::File(range) => out.put_file(*range),
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self { parts: vec![Part::Bytes(bytes)] }
    }
}

impl Wire for Records {
    fn least_bytes(context: Context) -> usize {
        Bytes::least_bytes(context)
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), Some(self.len()), context.flexible, true);
        self.put(out);
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        Bytes::decode(from, context, what).map(Self::from)
    }
}

impl Wire for Option<Records> {
    fn least_bytes(context: Context) -> usize {
        Bytes::least_bytes(context)
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        match self {
            Some(records) => records.encode(out, context),
            None => put_length(out.buffer(), None, context.flexible, true),
        }
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        Ok(Option::<Bytes>::decode(from, context, what)?.map(Records::from))
    }
}

/// Makes the records of a decoded produce request writable, so that offsets and epochs can be patched into their
/// batches: `slices` are what the request's partitions hold, pieces of `frame`. They come back in the same order,
/// disjoint pieces of the one buffer.
///
/// Nothing is copied if `frame` and `slices` are the only handles on that buffer, so the decoded request must have
/// given its records up ([`Option::take`]) and no other handle on the frame may be alive. Where it is shared, or a slice
/// is no piece of the frame, or two overlap, each is copied: slower, never wrong.
#[must_use]
pub fn into_patchable(frame: Bytes, slices: Vec<Bytes>) -> Vec<BytesMut> {
    let start = frame.as_ptr() as usize;
    let ranges: Vec<(usize, usize)> =
        slices.iter().map(|s| ((s.as_ptr() as usize).wrapping_sub(start), s.len())).collect();
    let mut order: Vec<usize> = (0..slices.len()).filter(|n| !slices[*n].is_empty()).collect();
    order.sort_unstable_by_key(|n| ranges[*n].0);
    let mut end = 0;
    for n in &order {
        let (at, len) = ranges[*n];
        if at < end || at > frame.len() || len > frame.len() - at {
            return slices.iter().map(|s| BytesMut::from(&s[..])).collect();
        }
        end = at + len;
    }
    drop(slices);
    let mut pieces: Vec<BytesMut> = ranges.iter().map(|_| BytesMut::new()).collect();
    match frame.try_into_mut() {
        Ok(mut rest) => {
            let mut taken = 0;
            for n in order {
                let (at, len) = ranges[n];
                let _between = rest.split_to(at - taken);
                pieces[n] = rest.split_to(len);
                taken = at + len;
            }
        }
        Err(shared) => {
            for n in order {
                let (at, len) = ranges[n];
                pieces[n] = BytesMut::from(&shared[at..at + len]);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEXIBLE: Context = Context { version: 12, flexible: true };

    #[test]
    fn records_of_several_parts_lie_in_a_message_as_one_run_of_bytes() {
        let mut records = Records::from(Bytes::from_static(b"abc"));
        records.push(Bytes::from_static(b"defg"));
        let (mut ours, mut plain) = (BytesMut::new(), BytesMut::new());
        Some(records).encode(&mut ours, FLEXIBLE);
        Bytes::from_static(b"abcdefg").encode(&mut plain, FLEXIBLE);
        assert_eq!(ours, plain);
        let back = Option::<Records>::decode(&mut Reader::new(ours.freeze()), FLEXIBLE, "records").unwrap();
        assert_eq!(back.unwrap().into_bytes(), b"abcdefg"[..]);
    }

    fn frame() -> (Bytes, Vec<Bytes>) {
        let frame = BytesMut::from(&b"head-AAAA-mid-BBB-"[..]).freeze();
        let slices = vec![frame.slice(14..17), frame.slice(5..9), Bytes::new()];
        (frame, slices)
    }

    #[test]
    fn the_batches_of_a_request_become_writable_without_being_copied() {
        let (frame, slices) = frame();
        let places: Vec<_> = slices.iter().take(2).map(|s| s.as_ptr()).collect();
        let pieces = into_patchable(frame, slices);
        assert_eq!(pieces, [&b"BBB"[..], b"AAAA", b""]);
        assert_eq!(pieces.iter().take(2).map(|p| p.as_ptr()).collect::<Vec<_>>(), places);
    }

    #[test]
    fn batches_of_a_frame_that_others_hold_are_copied() {
        let (frame, slices) = frame();
        let held = frame.clone();
        let mut pieces = into_patchable(frame, slices);
        pieces[0][0] = b'x';
        assert_eq!(pieces, [&b"xBB"[..], b"AAAA", b""]);
        assert_eq!(held, b"head-AAAA-mid-BBB-"[..]);
    }

    #[test]
    fn slices_of_elsewhere_and_overlapping_ones_are_copied() {
        let (frame, mut slices) = frame();
        slices.push(Bytes::from_static(b"elsewhere"));
        slices.push(frame.slice(4..8));
        assert_eq!(into_patchable(frame, slices), [&b"BBB"[..], b"AAAA", b"", b"elsewhere", b"-AAA"]);
    }
}
