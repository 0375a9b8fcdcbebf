//! A keep-alive HTTP/1.1 connection with minimal cost: it sends prepared bytes and reads status and body.
//!
//! Invariant: one request at a time; its duration is from the first byte sent to the last byte received.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection that reopens after the server has closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// The response to one request, until the next one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    /// The status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// A connection to `address`, opened at the first request.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(64 * 1024) }
    }

    /// Sends `request`, complete with its Content-Length, and reads the response, which must have one too.
    ///
    /// # Errors
    /// The socket's error, and `InvalidData` for an invalid response. The next request opens a new connection.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Reply<'_>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(self.address)?,
        };
        stream.write_all(request)?;
        self.buffer.clear();
        let mut block = [0; 16 * 1024];
        let head = loop {
            if let Some(head) = Head::parse(&self.buffer)?
                && self.buffer.len() >= head.length + head.body
            {
                break head;
            }
            match stream.read(&mut block)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.buffer.extend_from_slice(&block[..n]),
            }
        };
        if !head.close {
            self.stream = Some(stream);
        }
        Ok(Reply { status: head.status, body: &self.buffer[head.length..head.length + head.body] })
    }
}

/// A request in the form that [`Connection::exchange`] sends.
pub(crate) fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{json}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

struct Head {
    status: u16,
    /// Bytes of status line and headers, with the empty line.
    length: usize,
    /// Bytes of the body.
    body: usize,
    close: bool,
}

impl Head {
    /// `None` if the head is incomplete.
    fn parse(bytes: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(malformed)?;
        let (mut body, mut close) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body = Some(value.trim().parse().map_err(|_| malformed())?);
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(Self { status, length: end + 4, body: body.ok_or_else(malformed)?, close }))
    }
}
