//! The form in which messages are declared: one line per field, from which encoder, decoder, defaults and random samples
//! follow.
//!
//! `name: Type [3];` is there from version 3 on, `[3 to 7]` until version 7, `[12 tag 0]` is tagged field 0 from version
//! 12 on; `= -1` is its default where that is not Kafka's usual 0, empty or null.
//!
//! An `Option` may be null in every version that has the field, or with `[0 null 2]` from version 2 on: before that,
//! null is an error to the decoder, and the encoder writes the empty value in its place. A field that is not an `Option`
//! is never null; with `[5 or null]` the decoder takes null for empty, which is for what Kafka declares nullable but
//! clients do not bear as null.

/// Declares a structure that lies within messages.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$fmeta:meta])* $field:ident : $ty:ty [$from:literal $($how:tt)*] $(= $default:expr)? ;)*
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

        impl $crate::primitives::Structure for $name {}

        #[allow(unused_variables, unused_mut)] // Not every structure has every kind of field.
        impl $crate::primitives::Wire for $name {
            fn encode(&self, out: &mut impl $crate::parts::Sink, context: $crate::primitives::Context) {
                let mut tags: Vec<(u32, bytes::BytesMut)> = Vec::new();
                $(if has_field!(context; $from $($how)*) {
                    let usual: fn() -> $ty = || default_of!($($default)?);
                    put_field!(self.$field, out, context, tags, usual; $($how)*);
                })*
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
                $(if has_field!(context; $from $($how)*) {
                    get_field!(value.$field, from, context, stringify!($field); $($how)*);
                })*
                if context.flexible {
                    $crate::declare::get_tags(from, |tag, from| {
                        $(if has_field!(context; $from $($how)*) {
                            get_tag!(value.$field, from, context, stringify!($field), tag; $($how)*);
                        })*
                        Ok(())
                    })?;
                }
                Ok(value)
            }

            fn least_bytes(context: $crate::primitives::Context) -> usize {
                let mut least = usize::from(context.flexible);
                $(if has_field!(context; $from $($how)*) {
                    least += least_of!($ty, context; $($how)*);
                })*
                least
            }
        }

        #[cfg(feature = "sample")]
        #[allow(unused_variables, unused_mut)]
        impl $crate::sample::Sample for $name {
            fn sample(random: &mut $crate::sample::Random, context: $crate::primitives::Context) -> Self {
                let mut value = Self::default();
                $(if has_field!(context; $from $($how)*) {
                    value.$field = sample_of!(random, context; $($how)*);
                })*
                value
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
    ($key:literal, versions $low:literal to $high:literal, never flexible, $request:ident, $response:ident) => {
        api!($key, versions $low to $high, flexible 0x7fff, $request, $response);
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

/// Whether the version has the field, tagged or not.
macro_rules! has_field {
    ($context:ident; $from:literal to $to:literal $($how:tt)*) => {
        ($from..=$to).contains(&$context.version)
    };
    // A tag without the tagged section that it belongs to is nowhere.
    ($context:ident; $from:literal tag $tag:literal) => {
        $context.flexible && $context.version >= $from
    };
    ($context:ident; $from:literal $($how:tt)*) => {
        $context.version >= $from
    };
}

macro_rules! put_field {
    ($value:expr, $out:ident, $context:ident, $tags:ident, $usual:ident; to $to:literal $($how:tt)*) => {
        put_field!($value, $out, $context, $tags, $usual; $($how)*);
    };
    ($value:expr, $out:ident, $context:ident, $tags:ident, $usual:ident; tag $tag:literal) => {
        // Default values stay away: old clients stumble over them, and Kafka leaves them out as well.
        if $value != $usual() {
            let mut value = bytes::BytesMut::new();
            $crate::primitives::Wire::encode(&$value, &mut value, $context);
            $tags.push(($tag, value));
        }
    };
    ($value:expr, $out:ident, $context:ident, $tags:ident, $usual:ident; null $null:literal) => {
        $crate::primitives::put_nullable(&$value, $context.version >= $null, $out, $context);
    };
    ($value:expr, $out:ident, $context:ident, $tags:ident, $usual:ident; $(or null)?) => {
        $crate::primitives::Wire::encode(&$value, $out, $context);
    };
}

macro_rules! get_field {
    ($value:expr, $from:ident, $context:ident, $what:expr; to $to:literal $($how:tt)*) => {
        get_field!($value, $from, $context, $what; $($how)*);
    };
    ($value:expr, $from:ident, $context:ident, $what:expr; tag $tag:literal) => {};
    ($value:expr, $from:ident, $context:ident, $what:expr; null $null:literal) => {
        $value = $crate::primitives::get_nullable($from, $context.version >= $null, $context, $what)?;
    };
    ($value:expr, $from:ident, $context:ident, $what:expr; or null) => {
        $value = $crate::primitives::get_nullable($from, true, $context, $what)?.unwrap_or_default();
    };
    ($value:expr, $from:ident, $context:ident, $what:expr;) => {
        $value = $crate::primitives::Wire::decode($from, $context, $what)?;
    };
}

macro_rules! get_tag {
    ($value:expr, $from:ident, $context:ident, $what:expr, $found:ident; to $to:literal $($how:tt)*) => {
        get_tag!($value, $from, $context, $what, $found; $($how)*);
    };
    ($value:expr, $from:ident, $context:ident, $what:expr, $found:ident; tag $tag:literal) => {
        if $found == $tag {
            $value = $crate::primitives::Wire::decode($from, $context, $what)?;
            return $crate::declare::end_of_tag($from);
        }
    };
    ($value:expr, $from:ident, $context:ident, $what:expr, $found:ident; $($how:tt)*) => {};
}

macro_rules! least_of {
    ($ty:ty, $context:ident; to $to:literal $($how:tt)*) => {
        least_of!($ty, $context; $($how)*)
    };
    ($ty:ty, $context:ident; tag $tag:literal) => {
        0
    };
    ($ty:ty, $context:ident; $($how:tt)*) => {
        <$ty as $crate::primitives::Wire>::least_bytes($context)
    };
}

#[cfg(feature = "sample")]
macro_rules! sample_of {
    ($random:ident, $context:ident; to $to:literal $($how:tt)*) => {
        sample_of!($random, $context; $($how)*)
    };
    ($random:ident, $context:ident; null $null:literal) => {
        $crate::sample::nullable($random, $context.version >= $null, $context)
    };
    ($random:ident, $context:ident; $($how:tt)*) => {
        $crate::sample::Sample::sample($random, $context)
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

/// A tagged field that is known must end where its size says.
pub(crate) fn end_of_tag(from: &Reader) -> Result<(), WireError> {
    match from.left() {
        0 => Ok(()),
        left => Err(WireError::Trailing { left }),
    }
}
