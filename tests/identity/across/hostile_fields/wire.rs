//! A hostile request as bytes.
//!
//! Invariant: Content-Length is right, so that the next request on the connection begins where this one ends.

/// One request, and the expected properties of its response.
pub(super) struct Hostile {
    pub(super) method: String,
    pub(super) bytes: Vec<u8>,
    /// The only right errcode, if there is one.
    pub(super) errcode: Option<&'static str>,
    /// Whether the response may be a page.
    pub(super) may_be_html: bool,
}

pub(super) fn request_to(
    method: &str,
    target: &str,
    headers: &[&[u8]],
    body: &[u8],
    errcode: Option<&'static str>,
) -> Hostile {
    Hostile { method: method.to_owned(), bytes: bytes(method, target, headers, body), errcode, may_be_html: false }
}

pub(super) fn bytes(method: &str, target: &str, headers: &[&[u8]], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len()).into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
