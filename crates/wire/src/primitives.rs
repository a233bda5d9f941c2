//! Kafka's primitive types and how they lie in a message of a given version. The protocol guide calls them so too.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::parts::Sink;

/// A topic id, directory id and the like; Kafka writes it as 16 bytes.
pub type Uuid = [u8; 16];

/// The longest text there is: its length was once 16 bits in every message, and Kafka has kept it so.
pub const TEXT_BYTES_MAX: usize = i16::MAX as usize;

/// Why bytes are not the message that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends before its fields do.
    #[error("{what}: {needed} bytes are needed and {left} are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length, count or value that cannot be.
    #[error("{what}: {value} is out of range")]
    Range {
        /// What was being read.
        what: &'static str,
        /// The value found.
        value: i64,
    },
    /// Null where the version does not allow it.
    #[error("{what}: null is not allowed")]
    Null {
        /// What was being read.
        what: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("{what}: not UTF-8")]
    Utf8 {
        /// What was being read.
        what: &'static str,
    },
    /// A version that this build does not speak.
    #[error("version {version} of API key {key} is not known here")]
    Version {
        /// API key.
        key: i16,
        /// Version.
        version: i16,
    },
    /// A checksum that does not hold.
    #[error("{what}: checksum {found:#010x}, expected {expected:#010x}")]
    Checksum {
        /// What was being read.
        what: &'static str,
        /// Computed.
        found: u32,
        /// Stated.
        expected: u32,
    },
    /// Something that Kafka has and this crate does not read.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// Bytes after the last field.
    #[error("{left} bytes are left over")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// The version that decides which fields there are and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Version of the message.
    pub version: i16,
    /// Whether it is a flexible one: compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// Reads from bytes that came from elsewhere.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
}

impl Reader {
    /// Over these bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If bytes are left.
    pub fn finish(self) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            left => Err(WireError::Trailing { left }),
        }
    }

    /// Splits off exactly `len` bytes without copying them.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take(&mut self, what: &'static str, len: usize) -> Result<Bytes, WireError> {
        if self.left() < len {
            return Err(WireError::Short { what, needed: len, left: self.left() });
        }
        Ok(self.bytes.split_to(len))
    }

    fn fixed(&mut self, what: &'static str, len: usize) -> Result<&mut Bytes, WireError> {
        if self.left() < len {
            return Err(WireError::Short { what, needed: len, left: self.left() });
        }
        Ok(&mut self.bytes)
    }

    /// An unsigned varint of at most 32 bits.
    ///
    /// # Errors
    /// If it does not end, or is longer.
    pub fn uvarint(&mut self, what: &'static str) -> Result<u32, WireError> {
        let wide = self.uvarlong(what, 5)?;
        u32::try_from(wide).map_err(|_| WireError::Range { what, value: i64::try_from(wide).unwrap_or(i64::MAX) })
    }

    /// A zigzag varint of at most 32 bits.
    ///
    /// # Errors
    /// As [`Reader::uvarint`].
    pub fn varint(&mut self, what: &'static str) -> Result<i32, WireError> {
        let raw = self.uvarint(what)?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A zigzag varint of at most 64 bits.
    ///
    /// # Errors
    /// As [`Reader::uvarint`].
    pub fn varlong(&mut self, what: &'static str) -> Result<i64, WireError> {
        let raw = self.uvarlong(what, 10)?;
        Ok((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    fn uvarlong(&mut self, what: &'static str, longest: u32) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for nth in 0..longest {
            let byte = self.fixed(what, 1)?.get_u8();
            value |= u64::from(byte & 0x7f).wrapping_shl(nth * 7);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Range { what, value: value.cast_signed() })
    }

    /// The length of text or bytes; `None` is null.
    fn length(&mut self, what: &'static str, flexible: bool, wide: bool) -> Result<Option<usize>, WireError> {
        let length = match (flexible, wide) {
            (true, _) => i64::from(self.uvarint(what)?) - 1,
            (false, true) => i64::from(i32::read(self, what)?),
            (false, false) => i64::from(i16::read(self, what)?),
        };
        match length {
            -1 => Ok(None),
            n => usize::try_from(n).map(Some).map_err(|_| WireError::Range { what, value: n }),
        }
    }
}

/// Appends an unsigned varint of at most 32 bits.
pub fn put_uvarint(out: &mut BytesMut, value: u32) {
    put_uvarlong(out, u64::from(value));
}

/// Appends an unsigned varint of at most 64 bits.
pub(crate) fn put_uvarlong(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

pub(crate) fn put_length(out: &mut BytesMut, length: Option<usize>, flexible: bool, wide: bool) {
    // What we send is small; a length that does not fit is our own bug.
    let length = length.map(|n| i32::try_from(n).expect("a message of ours is below 2 GiB"));
    match (flexible, wide) {
        (true, _) => put_uvarint(out, length.map_or(0, |n| n.cast_unsigned() + 1)),
        (false, true) => out.put_i32(length.unwrap_or(-1)),
        (false, false) => {
            out.put_i16(length.map_or(-1, |n| i16::try_from(n).expect("text of ours is below 32 KiB")));
        }
    }
}

/// A value with a place in a message.
pub trait Wire: Sized {
    /// Appends it.
    fn encode(&self, out: &mut impl Sink, context: Context);

    /// Reads it.
    ///
    /// # Errors
    /// If the bytes are not such a value.
    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError>;

    /// The fewest bytes that it takes in this version: a count of them is believed only as far as the bytes reach.
    fn least_bytes(context: Context) -> usize;
}

/// A declared structure: may be null where an `Option` (KIP-893), with a byte in front that says so.
pub trait Structure {}

/// Writes a field that `may_be_null` or not; null that may not be is written as empty, so that the fields behind it
/// stay where the reader looks for them.
pub(crate) fn put_nullable<T: Wire + Default>(
    value: &Option<T>,
    may_be_null: bool,
    out: &mut impl Sink,
    context: Context,
) where
    Option<T>: Wire,
{
    match value {
        _ if may_be_null => value.encode(out, context),
        Some(value) => value.encode(out, context),
        None => T::default().encode(out, context),
    }
}

/// Reads a field that `may_be_null` or not.
pub(crate) fn get_nullable<T: Wire>(
    from: &mut Reader,
    may_be_null: bool,
    context: Context,
    what: &'static str,
) -> Result<Option<T>, WireError>
where
    Option<T>: Wire,
{
    if may_be_null { Option::decode(from, context, what) } else { T::decode(from, context, what).map(Some) }
}

macro_rules! fixed_size {
    ($($ty:ty, $bytes:literal, $get:ident, $put:ident;)*) => {$(
        impl Wire for $ty {
            fn least_bytes(_: Context) -> usize {
                $bytes
            }
            fn encode(&self, out: &mut impl Sink, _: Context) {
                out.buffer().$put(*self);
            }
            fn decode(from: &mut Reader, _: Context, what: &'static str) -> Result<Self, WireError> {
                Ok(from.fixed(what, $bytes)?.$get())
            }
        }
        impl Fixed for $ty {
            fn read(from: &mut Reader, what: &'static str) -> Result<Self, WireError> {
                Ok(from.fixed(what, $bytes)?.$get())
            }
        }
    )*};
}

/// A value whose form does not depend on the version.
pub(crate) trait Fixed: Sized {
    fn read(from: &mut Reader, what: &'static str) -> Result<Self, WireError>;
}

fixed_size! {
    i8, 1, get_i8, put_i8;
    i16, 2, get_i16, put_i16;
    u16, 2, get_u16, put_u16;
    i32, 4, get_i32, put_i32;
    u32, 4, get_u32, put_u32;
    i64, 8, get_i64, put_i64;
}

impl Wire for bool {
    fn least_bytes(_: Context) -> usize {
        1
    }

    fn encode(&self, out: &mut impl Sink, _: Context) {
        out.buffer().put_u8(u8::from(*self));
    }

    fn decode(from: &mut Reader, _: Context, what: &'static str) -> Result<Self, WireError> {
        Ok(i8::read(from, what)? != 0)
    }
}

impl Wire for Uuid {
    fn least_bytes(_: Context) -> usize {
        16
    }

    fn encode(&self, out: &mut impl Sink, _: Context) {
        out.buffer().put_slice(self);
    }

    fn decode(from: &mut Reader, _: Context, what: &'static str) -> Result<Self, WireError> {
        let mut id = [0; 16];
        from.fixed(what, 16)?.copy_to_slice(&mut id);
        Ok(id)
    }
}

impl Wire for Option<String> {
    fn least_bytes(context: Context) -> usize {
        if context.flexible { 1 } else { 2 }
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), self.as_ref().map(String::len), context.flexible, false);
        out.buffer().put_slice(self.as_deref().unwrap_or_default().as_bytes());
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        let Some(length) = from.length(what, context.flexible, false)? else { return Ok(None) };
        // Kafka takes no longer text, not even where the length of a flexible version could say so.
        if length > TEXT_BYTES_MAX {
            return Err(WireError::Range { what, value: length as i64 });
        }
        let bytes = from.take(what, length)?;
        std::str::from_utf8(&bytes).map(|s| Some(s.to_owned())).map_err(|_| WireError::Utf8 { what })
    }
}

impl Wire for String {
    fn least_bytes(context: Context) -> usize {
        Option::<Self>::least_bytes(context)
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), Some(self.len()), context.flexible, false);
        out.buffer().put_slice(self.as_bytes());
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        Option::<Self>::decode(from, context, what)?.ok_or(WireError::Null { what })
    }
}

impl Wire for Option<Bytes> {
    fn least_bytes(context: Context) -> usize {
        if context.flexible { 1 } else { 4 }
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), self.as_ref().map(Bytes::len), context.flexible, true);
        if let Some(bytes) = self {
            out.put_shared(bytes);
        }
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        let Some(length) = from.length(what, context.flexible, true)? else { return Ok(None) };
        from.take(what, length).map(Some)
    }
}

impl Wire for Bytes {
    fn least_bytes(context: Context) -> usize {
        Option::<Self>::least_bytes(context)
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), Some(self.len()), context.flexible, true);
        out.put_shared(self);
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        Option::<Self>::decode(from, context, what)?.ok_or(WireError::Null { what })
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn least_bytes(context: Context) -> usize {
        if context.flexible { 1 } else { 4 }
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), self.as_ref().map(Vec::len), context.flexible, true);
        self.iter().flatten().for_each(|one| one.encode(out, context));
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        let Some(count) = from.length(what, context.flexible, true)? else { return Ok(None) };
        // A count is believed only as far as the bytes that follow could hold so many, and grows the list only as they
        // turn out to: what is declared in few bytes may be large in memory.
        let least = T::least_bytes(context).max(1);
        if count > from.left() / least {
            return Err(WireError::Short { what, needed: count.saturating_mul(least), left: from.left() });
        }
        let mut list = Vec::with_capacity(count.min(from.left() / size_of::<T>().max(1)));
        for _ in 0..count {
            list.push(T::decode(from, context, what)?);
        }
        Ok(Some(list))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn least_bytes(context: Context) -> usize {
        Option::<Self>::least_bytes(context)
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_length(out.buffer(), Some(self.len()), context.flexible, true);
        self.iter().for_each(|one| one.encode(out, context));
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        Option::<Self>::decode(from, context, what)?.ok_or(WireError::Null { what })
    }
}

impl<T: Wire + Structure> Wire for Option<T> {
    fn least_bytes(_: Context) -> usize {
        1
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        out.buffer().put_i8(if self.is_some() { 1 } else { -1 });
        self.iter().for_each(|one| one.encode(out, context));
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        // Whatever is not below zero says that it is there, as Kafka's own decoder has it.
        if i8::read(from, what)? < 0 { Ok(None) } else { T::decode(from, context, what).map(Some) }
    }
}

/// A structure in a tagged field that may be null there: an unsigned varint in front says so, where elsewhere it is a
/// signed byte ([`Structure`]). That is how Kafka's generated code has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaggedOption<T>(pub Option<T>);

impl<T: Wire + Structure> Wire for TaggedOption<T> {
    fn least_bytes(_: Context) -> usize {
        1
    }

    fn encode(&self, out: &mut impl Sink, context: Context) {
        put_uvarint(out.buffer(), u32::from(self.0.is_some()));
        self.0.iter().for_each(|one| one.encode(out, context));
    }

    fn decode(from: &mut Reader, context: Context, what: &'static str) -> Result<Self, WireError> {
        if from.uvarint(what)? == 0 { Ok(Self(None)) } else { T::decode(from, context, what).map(|t| Self(Some(t))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_read_as_the_protocol_guide_writes_them() {
        for (bytes, value) in [(&[0x00][..], 0), (&[0x01], -1), (&[0x02], 1), (&[0xac, 0x02], 150), (&[0x96, 0x01], 75)]
        {
            assert_eq!(Reader::new(Bytes::copy_from_slice(bytes)).varint("v"), Ok(value));
        }
        let endless = Reader::new(Bytes::from_static(&[0xff; 12])).varint("v");
        assert!(matches!(endless, Err(WireError::Range { .. })), "{endless:?}");
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_allocated() {
        let hostile = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1, 2, 3]);
        let plain = Context { version: 0, flexible: false };
        let list = Vec::<i32>::decode(&mut Reader::new(hostile), plain, "list");
        assert!(matches!(list, Err(WireError::Short { left: 3, .. })), "{list:?}");
    }
}
