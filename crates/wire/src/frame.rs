//! Frames: a length, a header, a body; requests and responses, each written and read. What is written has its length in
//! front; what is read has none any more, as cutting the stream into frames is the business of whoever owns the connection.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};

use crate::declare::{get_tags, put_tags};
use crate::parts::{Part, Parts, Sink};
use crate::primitives::{Context, Fixed, Reader, Wire, WireError};

/// A request and its response, each of which this crate can write and read.
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
    let length = frame_length(out.len())?;
    out[..4].copy_from_slice(&length);
    Ok(out.freeze())
}

/// The beginning of a request's header, which is the same in every version of every API: enough to refuse a version
/// that is not spoken, and for ApiVersions to answer it nevertheless (KIP-511).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// API key.
    pub api_key: i16,
    /// Version of the request and of its response.
    pub api_version: i16,
    /// What the response has to name.
    pub correlation_id: i32,
    /// Name that the client gives itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Reads the beginning of a request frame (without its length). The reader is then where [`request_body`] goes on.
    ///
    /// # Errors
    /// If the bytes are no such header.
    pub fn read(from: &mut Reader) -> Result<Self, WireError> {
        Ok(Self {
            api_key: i16::read(from, "api key")?,
            api_version: i16::read(from, "api version")?,
            correlation_id: i32::read(from, "correlation id")?,
            client_id: Wire::decode(from, Context { version: 1, flexible: false }, "client id")?,
        })
    }
}

/// Reads what follows a [`RequestHeader`] whose `api_key` is that of `R`: the tagged fields of a flexible header, and the
/// body. Bytes behind the body are left alone, as Kafka does.
///
/// # Errors
/// [`WireError::Version`] if the version is not declared here, others if the bytes are no such request.
///
/// # Panics
/// If the header is of another API.
pub fn request_body<R: Request>(header: &RequestHeader, mut from: Reader) -> Result<R, WireError> {
    assert_eq!(header.api_key, R::KEY, "a request is read as what its header says");
    let context = R::context(header.api_version)?;
    if context.flexible {
        get_tags(&mut from, |_, _| Ok(()))?;
    }
    R::decode(&mut from, context, "request")
}

/// Writes a response to `R` in `version` as a whole frame, its length in front, in parts: records and other large bytes
/// are shared with `body`, not copied.
///
/// # Errors
/// If the version is not declared here, or the frame would be longer than 2 GiB.
pub fn response_parts<R: Request>(
    body: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Part>, WireError> {
    let mut out = Parts::new();
    put_response::<R>(&mut out, body, version, correlation_id)?;
    let length = frame_length(out.len())?;
    out.buffer()[..4].copy_from_slice(&length);
    Ok(out.into_vec())
}

/// Writes a response as [`response_parts`] does, into one buffer: for small ones, and for tests.
///
/// # Errors
/// As [`response_parts`].
///
/// # Panics
/// If the body has a range of a file in it.
pub fn response_bytes<R: Request>(body: &R::Response, version: i16, correlation_id: i32) -> Result<Bytes, WireError> {
    let mut out = BytesMut::with_capacity(128);
    put_response::<R>(&mut out, body, version, correlation_id)?;
    let length = frame_length(out.len())?;
    out[..4].copy_from_slice(&length);
    Ok(out.freeze())
}

fn put_response<R: Request>(
    out: &mut impl Sink,
    body: &R::Response,
    version: i16,
    correlation_id: i32,
) -> Result<(), WireError> {
    let context = R::context(version)?;
    out.buffer().put_i32(0);
    out.buffer().put_i32(correlation_id);
    if context.flexible && R::KEY != API_VERSIONS {
        put_tags(out.buffer(), Vec::new());
    }
    body.encode(out, context);
    Ok(())
}

/// What stands in front of a frame that is `whole` bytes long with its length.
fn frame_length(whole: usize) -> Result<[u8; 4], WireError> {
    let length = i32::try_from(whole - 4).map_err(|_| WireError::Range { what: "frame", value: i64::MAX })?;
    Ok(length.to_be_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData};
    use crate::parts::FileRange;
    use crate::records::Records;

    #[test]
    fn what_a_client_writes_the_server_reads() {
        let sent = FetchRequest { max_wait_ms: 500, rack_id: "a".into(), ..Default::default() };
        let frame = request(&sent, 17, 42, "tester").unwrap();
        assert_eq!(frame[..4], i32::try_from(frame.len() - 4).unwrap().to_be_bytes());
        let mut from = Reader::new(frame.slice(4..));
        let header = RequestHeader::read(&mut from).unwrap();
        let wanted =
            RequestHeader { api_key: 1, api_version: 17, correlation_id: 42, client_id: Some("tester".into()) };
        assert_eq!(header, wanted);
        assert_eq!(request_body::<FetchRequest>(&header, from), Ok(sent));
    }

    #[test]
    fn a_version_that_is_not_spoken_still_tells_whom_to_answer() {
        let unknown = Bytes::from_static(&[0, 18, 0x7f, 0xff, 0, 0, 0, 7, 0, 1, b'c', 2, 9, 9, 9]);
        let header = RequestHeader::read(&mut Reader::new(unknown)).unwrap();
        let wanted = RequestHeader { api_key: 18, api_version: 0x7fff, correlation_id: 7, client_id: Some("c".into()) };
        assert_eq!(header, wanted);
        let header = RequestHeader { api_key: 1, api_version: 99, ..header };
        let refused = request_body::<FetchRequest>(&header, Reader::new(Bytes::new()));
        assert_eq!(refused, Err(WireError::Version { key: 1, version: 99 }));
    }

    #[test]
    fn records_leave_in_a_response_without_being_copied_and_the_length_counts_them() {
        let records = Bytes::from(vec![5; 100_000]);
        let partition = PartitionData { records: Some(records.clone().into()), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![partition.clone(), partition], ..Default::default() };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        let parts = response_parts::<FetchRequest>(&response, 17, 3).unwrap();
        assert_eq!(parts.len(), 5, "fields, records, fields, records, fields");
        for part in [&parts[1], &parts[3]] {
            let Part::Bytes(part) = part else { panic!("{part:?}") };
            assert_eq!((part.as_ptr(), part.len()), (records.as_ptr(), records.len()));
        }
        let mut whole = BytesMut::new();
        for part in &parts {
            let Part::Bytes(part) = part else { panic!("{part:?}") };
            whole.extend_from_slice(part);
        }
        assert_eq!(whole[..4], i32::try_from(whole.len() - 4).unwrap().to_be_bytes());
        assert_eq!(whole, response_bytes::<FetchRequest>(&response, 17, 3).unwrap());
        let read = super::response::<FetchRequest>(whole.freeze().slice(4..), 17);
        assert_eq!(read, Ok((3, response)));
    }

    #[test]
    fn a_range_of_a_file_counts_in_the_length_of_what_is_around_it() {
        let mut out = Parts::new();
        let mut records = Records::from(Bytes::from_static(b"tail of a segment"));
        records.push_file(FileRange { file: 1, position: 0, len_bytes: 1000 });
        records.encode(&mut out, Context { version: 4, flexible: false });
        assert_eq!(out.len(), 4 + 17 + 1000);
        let Some(Part::Bytes(fields)) = out.into_vec().into_iter().next() else { panic!("fields come first") };
        assert_eq!(fields[..4], 1017_i32.to_be_bytes());
    }
}
