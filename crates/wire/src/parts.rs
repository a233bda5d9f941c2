//! What goes out, as a list of parts: small fields written one after another, and between them bytes that are shared
//! with their owner, or a range of a file, so that records reach the socket without being copied. No IO: who sends the
//! parts reads the files.

use bytes::{Buf, Bytes, BytesMut};

/// From this size on, sharing bytes beats copying them: a part of its own costs an entry in the vectored write.
const SHARED_FROM_BYTES: usize = 512;

/// A piece of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes that lie in a file.
    File(FileRange),
}

/// A range of a file that whoever sends the frame is to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// Which file, by the number that its store knows it by.
    pub file: u64,
    /// Its first byte.
    pub position: u64,
    /// How many.
    pub len_bytes: u32,
}

impl Part {
    /// Bytes that it stands for.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(range) => range.len_bytes as usize,
        }
    }

    /// Whether it stands for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a message can be written to: one buffer, or parts.
pub trait Sink {
    /// Where small fields go.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Appends bytes that may be shared instead of copied.
    fn put_shared(&mut self, bytes: &Bytes);

    /// Appends a range of a file.
    fn put_file(&mut self, range: FileRange);
}

impl Sink for BytesMut {
    fn buffer(&mut self) -> &mut BytesMut {
        self
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.extend_from_slice(bytes);
    }

    /// # Panics
    /// Always: bytes that are not in memory cannot be put into it. Messages with file ranges are written to [`Parts`].
    fn put_file(&mut self, range: FileRange) {
        panic!("{range:?} cannot be written to a buffer in memory");
    }
}

/// A frame that is being written as parts.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// All small fields, without what lies between them.
    fields: BytesMut,
    /// What lies between them, each with the place in `fields` before which it goes.
    between: Vec<(usize, Part)>,
    between_bytes: usize,
}

impl Parts {
    /// Empty ones.
    #[must_use]
    pub fn new() -> Self {
        Self { fields: BytesMut::with_capacity(256), ..Self::default() }
    }

    /// Bytes of all parts together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len() + self.between_bytes
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, part: Part) {
        self.between_bytes += part.len();
        self.between.push((self.fields.len(), part));
    }

    /// The parts in their order, none of them empty.
    #[must_use]
    pub fn into_vec(self) -> Vec<Part> {
        let mut fields = self.fields.freeze();
        let mut parts = Vec::with_capacity(2 * self.between.len() + 1);
        let mut taken = 0;
        for (place, part) in self.between {
            if place > taken {
                parts.push(Part::Bytes(fields.split_to(place - taken)));
                taken = place;
            }
            parts.push(part);
        }
        if fields.has_remaining() {
            parts.push(Part::Bytes(fields));
        }
        parts
    }

    /// All of it in one buffer; copies unless it is one part already.
    ///
    /// # Panics
    /// If a range of a file is among the parts.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        if self.between.is_empty() {
            return self.fields.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in self.into_vec() {
            match part {
                Part::Bytes(bytes) => whole.extend_from_slice(&bytes),
                Part::File(range) => whole.put_file(range),
            }
        }
        whole.freeze()
    }
}

impl Sink for Parts {
    fn buffer(&mut self) -> &mut BytesMut {
        &mut self.fields
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_FROM_BYTES {
            self.fields.extend_from_slice(bytes);
        } else {
            self.put(Part::Bytes(bytes.clone()));
        }
    }

    fn put_file(&mut self, range: FileRange) {
        if range.len_bytes > 0 {
            self.put(Part::File(range));
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    #[test]
    fn large_bytes_are_shared_small_ones_copied_and_all_stay_in_order() {
        let large = Bytes::from(vec![7; 4096]);
        let file = FileRange { file: 3, position: 100, len_bytes: 50 };
        let mut parts = Parts::new();
        parts.put_shared(&large);
        parts.buffer().put_i32(1);
        parts.put_shared(&Bytes::from_static(b"small"));
        parts.put_file(file);
        parts.put_shared(&large);
        parts.buffer().put_u8(9);
        assert_eq!(parts.len(), 4096 + 9 + 50 + 4096 + 1);
        let parts = parts.into_vec();
        let fields = Bytes::from_static(&[0, 0, 0, 1, b's', b'm', b'a', b'l', b'l']);
        let last = Bytes::from_static(&[9]);
        let wanted = [large.clone(), fields].map(Part::Bytes).into_iter();
        let wanted: Vec<Part> =
            wanted.chain([Part::File(file)]).chain([large.clone(), last].map(Part::Bytes)).collect();
        assert_eq!(parts, wanted);
        let Part::Bytes(first) = &parts[0] else { panic!("{parts:?}") };
        assert_eq!(first.as_ptr(), large.as_ptr(), "shared, not copied");
    }
}
