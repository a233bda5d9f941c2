//! Who sends: the client id out of the header `Authorization`. It says who a client is, and proves nothing.

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::refusal::Refusal;

/// The longest client id, bytes.
pub const CLIENT_ID_MAX_BYTES: usize = 128;

/// The client id: `Authorization: Bearer ID`, or the id alone.
pub(crate) fn client_id(headers: &HeaderMap) -> Result<&str, Refusal> {
    let wrong = |why: String| Refusal::NoClientId { why };
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = all.next() else { return Err(wrong("the header is missing".to_owned())) };
    if all.next().is_some() {
        return Err(wrong("the header is there twice".to_owned()));
    }
    let text = header.to_str().map_err(|_| wrong("it has bytes that are no visible ASCII".to_owned()))?.trim();
    let id = match text.split_once(' ') {
        None => text,
        Some((scheme, id)) if scheme.eq_ignore_ascii_case("bearer") => id.trim_start(),
        Some((scheme, _)) => return Err(wrong(format!("the scheme `{}` is not known here", short(scheme)))),
    };
    match id {
        "" => Err(wrong("it is empty".to_owned())),
        id if id.eq_ignore_ascii_case("bearer") => Err(wrong("it is empty".to_owned())),
        id if id.len() > CLIENT_ID_MAX_BYTES => {
            Err(wrong(format!("the id has {} bytes; {CLIENT_ID_MAX_BYTES} at most", id.len())))
        }
        id if !id.bytes().all(|byte| byte.is_ascii_graphic()) => Err(wrong("the id has a space in it".to_owned())),
        id => Ok(id),
    }
}

/// The beginning of something that a client sent, to be shown back to it.
pub(crate) fn short(text: &str) -> String {
    const SHOWN_MAX_CHARS: usize = 40;
    let mut shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&[u8]]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, hyper::header::HeaderValue::from_bytes(value).expect("a header"));
        }
        client_id(&headers).map(str::to_owned).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn an_id_comes_alone_or_as_a_bearer_token() {
        for good in ["Bearer sensor-7", "bearer  sensor-7", "sensor-7", " sensor-7 "] {
            assert_eq!(of(&[good.as_bytes()]).as_deref(), Ok("sensor-7"), "{good}");
        }
        assert_eq!(of(&["x".repeat(128).as_bytes()]).map(|id| id.len()), Ok(128));
    }

    #[test]
    fn what_is_no_id_is_refused_with_the_reason() {
        let (long, huge) = ("x".repeat(129), format!("{} z", "y".repeat(300)));
        let cases: [(&[&[u8]], &str); 9] = [
            (&[], "missing"),
            (&[b""], "empty"),
            (&[b"Bearer "], "empty"),
            (&[b"Bearer a b"], "space"),
            (&[b"Basic YTpi"], "`Basic` is not known"),
            (&[b"a", b"b"], "twice"),
            (&[b"caf\xc3\xa9"], "no visible ASCII"),
            (&[long.as_bytes()], "129 bytes; 128 at most"),
            (&[huge.as_bytes()], "yyy…` is not known"),
        ];
        for (values, part) in cases {
            let said = of(values).expect_err("refused");
            assert!(said.contains(part), "`{part}` is not in `{said}`");
        }
    }
}
