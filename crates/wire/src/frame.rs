//! Frames: a length, a header, a body. The length itself is the business of whoever owns the connection.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};

use crate::declare::{get_tags, put_tags};
use crate::primitives::{Context, Fixed, Reader, Wire, WireError};

/// A request that this crate can write, and its response that it can read.
pub trait Request: Wire {
    /// API key.
    const KEY: i16;
    /// Versions declared here.
    const VERSIONS: RangeInclusive<i16>;
    /// The first flexible version.
    const FLEXIBLE_FROM: i16;
    /// What answers it.
    type Response: Wire;

    /// The context of a version.
    ///
    /// # Errors
    /// If it is not declared here.
    fn context(version: i16) -> Result<Context, WireError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(WireError::Version { key: Self::KEY, version });
        }
        Ok(Context { version, flexible: version >= Self::FLEXIBLE_FROM })
    }
}

/// ApiVersions is answered with the oldest header, whatever its version, so that any client can read it (KIP-511).
const API_VERSIONS: i16 = 18;

/// Writes a request as a whole frame, its length in front.
///
/// # Errors
/// If the version is not declared here.
pub fn request<R: Request>(body: &R, version: i16, correlation_id: i32, client_id: &str) -> Result<Bytes, WireError> {
    let context = R::context(version)?;
    let mut out = BytesMut::with_capacity(128);
    out.put_i32(0);
    out.put_i16(R::KEY);
    out.put_i16(version);
    out.put_i32(correlation_id);
    // The client id keeps its old form even in the flexible header.
    Some(client_id.to_owned()).encode(&mut out, Context { version: 1, flexible: false });
    if context.flexible {
        put_tags(&mut out, Vec::new());
    }
    body.encode(&mut out, context);
    let length = i32::try_from(out.len() - 4).map_err(|_| WireError::Range { what: "frame", value: i64::MAX })?;
    out[..4].copy_from_slice(&length.to_be_bytes());
    Ok(out.freeze())
}

/// Reads a response frame (without its length) to `R` in `version`: the correlation id and the body.
///
/// # Errors
/// If the bytes are not such a response.
pub fn response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), WireError> {
    let context = R::context(version)?;
    let mut from = Reader::new(frame);
    let correlation_id = i32::read(&mut from, "correlation id")?;
    if context.flexible && R::KEY != API_VERSIONS {
        get_tags(&mut from, |_, _| Ok(()))?;
    }
    let body = R::Response::decode(&mut from, context, "response")?;
    from.finish()?;
    Ok((correlation_id, body))
}
