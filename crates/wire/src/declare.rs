//! The form in which messages are declared: one line per field, from which encoder, decoder and defaults follow.
//!
//! `name: Type [3];` is there from version 3 on, `[3 to 7]` until version 7, `[12 tag 0]` is tagged field 0 from version
//! 12 on; `= -1` is its default where that is not Kafka's usual 0, empty or null.

/// Declares a structure that lies within messages.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$fmeta:meta])* $field:ident : $ty:ty [$from:literal $(to $to:literal)? $(tag $tag:literal)?] $(= $default:expr)? ;)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)] // The names are the protocol's own.
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: default_of!($($default)?),)* }
            }
        }

        #[allow(unused_variables, unused_mut, clippy::vec_init_then_push)] // Not every structure has every kind of field.
        impl $crate::primitives::Wire for $name {
            fn encode(&self, out: &mut impl $crate::parts::Sink, context: $crate::primitives::Context) {
                let mut tags: Vec<(u32, bytes::BytesMut)> = Vec::new();
                let usual = Self::default();
                $(put_field!(self, out, context, tags, usual; $field, $from $(to $to)? $(tag $tag)?);)*
                if context.flexible {
                    $crate::declare::put_tags(out.buffer(), tags);
                }
            }

            fn decode(
                from: &mut $crate::primitives::Reader,
                context: $crate::primitives::Context,
                what: &'static str,
            ) -> Result<Self, $crate::primitives::WireError> {
                let mut value = Self::default();
                $(get_field!(value, from, context; $field, $from $(to $to)? $(tag $tag)?);)*
                if context.flexible {
                    $crate::declare::get_tags(from, |tag, from| {
                        $(get_tag!(value, from, context, tag; $field, $from $(tag $tag)?);)*
                        Ok(())
                    })?;
                }
                Ok(value)
            }
        }
    };
}

/// Declares a request and its response: the API key, the versions spoken here and the first flexible one.
macro_rules! api {
    ($key:literal, versions $low:literal to $high:literal, flexible $flexible:literal, $request:ident, $response:ident) => {
        impl $crate::frame::Request for $request {
            const KEY: i16 = $key;
            const VERSIONS: std::ops::RangeInclusive<i16> = $low..=$high;
            const FLEXIBLE_FROM: i16 = $flexible;
            type Response = $response;
        }
    };
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

macro_rules! put_field {
    ($self:ident, $out:ident, $context:ident, $tags:ident, $usual:ident; $field:ident, $from:literal) => {
        if $context.version >= $from {
            $crate::primitives::Wire::encode(&$self.$field, $out, $context);
        }
    };
    ($self:ident, $out:ident, $context:ident, $tags:ident, $usual:ident; $field:ident, $from:literal to $to:literal) => {
        if ($from..=$to).contains(&$context.version) {
            $crate::primitives::Wire::encode(&$self.$field, $out, $context);
        }
    };
    ($self:ident, $out:ident, $context:ident, $tags:ident, $usual:ident; $field:ident, $from:literal tag $tag:literal) => {
        // Default values stay away: old clients stumble over them, and Kafka leaves them out as well.
        if $context.version >= $from && $self.$field != $usual.$field {
            let mut value = bytes::BytesMut::new();
            $crate::primitives::Wire::encode(&$self.$field, &mut value, $context);
            $tags.push(($tag, value));
        }
    };
}

macro_rules! get_field {
    ($value:ident, $reader:ident, $context:ident; $field:ident, $from:literal) => {
        if $context.version >= $from {
            $value.$field = $crate::primitives::Wire::decode($reader, $context, stringify!($field))?;
        }
    };
    ($value:ident, $reader:ident, $context:ident; $field:ident, $from:literal to $to:literal) => {
        if ($from..=$to).contains(&$context.version) {
            $value.$field = $crate::primitives::Wire::decode($reader, $context, stringify!($field))?;
        }
    };
    ($value:ident, $reader:ident, $context:ident; $field:ident, $from:literal tag $tag:literal) => {};
}

macro_rules! get_tag {
    ($value:ident, $reader:ident, $context:ident, $found:ident; $field:ident, $from:literal) => {};
    ($value:ident, $reader:ident, $context:ident, $found:ident; $field:ident, $from:literal tag $tag:literal) => {
        if $found == $tag && $context.version >= $from {
            $value.$field = $crate::primitives::Wire::decode($reader, $context, stringify!($field))?;
        }
    };
}

use bytes::{BufMut, BytesMut};

use crate::primitives::{Reader, WireError, put_uvarint};

/// Appends the tagged fields of a structure, in the order of their tags.
pub(crate) fn put_tags(out: &mut BytesMut, mut tags: Vec<(u32, BytesMut)>) {
    tags.sort_unstable_by_key(|(tag, _)| *tag);
    let small = |n: usize| u32::try_from(n).expect("a message of ours is below 4 GiB");
    put_uvarint(out, small(tags.len()));
    for (tag, value) in tags {
        put_uvarint(out, tag);
        put_uvarint(out, small(value.len()));
        out.put_slice(&value);
    }
}

/// Reads tagged fields; `known` takes those it knows from a reader of exactly that field, others are passed over.
pub(crate) fn get_tags(
    from: &mut Reader,
    mut known: impl FnMut(u32, &mut Reader) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let count = from.uvarint("tagged fields")?;
    for _ in 0..count {
        let tag = from.uvarint("tag")?;
        let size = from.uvarint("size of a tagged field")?;
        let mut field = Reader::new(from.take("tagged field", size as usize)?);
        known(tag, &mut field)?;
    }
    Ok(())
}
