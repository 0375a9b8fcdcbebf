//! A TCP connection that sends bytes as they are: malformed HTTP, slow requests, several requests at once.
//!
//! Invariant: it does not repair anything, neither what goes out nor what comes in.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

/// One response as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The number in the status line.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

/// Opens a connection, sends `bytes`, reads one response.
///
/// # Errors
/// What [`Raw::response`] says.
///
/// # Panics
/// If nothing listens at `address`.
pub async fn exchange(address: SocketAddr, bytes: &[u8], deadline: Duration) -> Result<Response, NoResponse> {
    let mut connection = Raw::connect(address).await;
    connection.send(bytes).await;
    connection.response(deadline).await
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The other side closed; with what had come by then.
    Closed(Vec<u8>),
    /// The deadline passed on an open connection; with what had come by then.
    Late(Vec<u8>),
}

impl Raw {
    /// Opens a connection.
    ///
    /// # Panics
    /// If nothing listens at `address`.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    /// As [`Raw::connect`], to a server that may be gone.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends `bytes`; gives false if the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        // An error means that the connection is closed already.
        drop(self.stream.shutdown().await);
    }

    /// Hangs up so that the other side learns of it at once (RST), as a proxy does whose own client has gone.
    ///
    /// # Panics
    /// If the system refuses the option.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("SO_LINGER");
    }

    /// Reads one response, delimited by Content-Length, chunks, or the end of the connection. What follows it stays
    /// for the next call.
    ///
    /// # Errors
    /// [`NoResponse`] if the connection ends before or within one, or nothing complete comes in time.
    pub async fn response(&mut self, deadline: Duration) -> Result<Response, NoResponse> {
        self.read(deadline, parse).await
    }

    /// As [`Raw::response`], for the answer to a HEAD request: it has no body, whatever its headers say.
    ///
    /// # Errors
    /// As for [`Raw::response`].
    pub async fn response_to_head(&mut self, deadline: Duration) -> Result<Response, NoResponse> {
        self.read(deadline, |bytes, _| {
            let (head, status) = head(bytes)?;
            let length = head.len();
            Some((Response { status, head, body: Vec::new() }, length))
        })
        .await
    }

    async fn read(
        &mut self,
        deadline: Duration,
        parse: impl Fn(&[u8], bool) -> Option<(Response, usize)>,
    ) -> Result<Response, NoResponse> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if let Some((response, length)) = parse(&self.received, false) {
                self.received.drain(..length);
                return Ok(response);
            }
            match tokio::time::timeout_at(end, self.stream.read_buf(&mut self.received)).await {
                Ok(Ok(n)) if n > 0 => {}
                Ok(_) => {
                    let all = std::mem::take(&mut self.received);
                    return parse(&all, true).map(|(response, _)| response).ok_or(NoResponse::Closed(all));
                }
                Err(_) => return Err(NoResponse::Late(self.received.clone())),
            }
        }
    }

    /// Whether the other side closes the connection within `deadline`; what still comes is dropped.
    pub async fn closes_within(&mut self, deadline: Duration) -> bool {
        let closed = async {
            let mut buffer = [0; 4096];
            while self.stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        };
        tokio::time::timeout(deadline, closed).await.is_ok()
    }
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}):\n{}{text}", self.head))
    }
}

/// The first complete response in `bytes` and its length there.
fn parse(bytes: &[u8], closed: bool) -> Option<(Response, usize)> {
    let (head, status) = head(bytes)?;
    let head_end = head.len();
    let (body, length) = match (header(&head, "transfer-encoding"), header(&head, "content-length")) {
        (Some(coding), _) if coding.eq_ignore_ascii_case("chunked") => chunks(&bytes[head_end..])?,
        (_, Some(length)) => {
            let length = length.parse().ok()?;
            (bytes.get(head_end..head_end + length)?.to_vec(), length)
        }
        _ if status < 200 || status == 204 || status == 304 => (Vec::new(), 0),
        _ if closed => (bytes[head_end..].to_vec(), bytes.len() - head_end),
        _ => return None,
    };
    Some((Response { status, head, body }, head_end + length))
}

/// Status line and headers, and the number in the status line. A head that is not ASCII is no head.
fn head(bytes: &[u8]) -> Option<(String, u16)> {
    let end = find(bytes, b"\r\n\r\n")? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((head, status))
}

fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line_end = at + find(&bytes[at..], b"\r\n")?;
        let line = std::str::from_utf8(&bytes[at..line_end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        let (start, end) = (line_end + 2, line_end + 2 + size);
        body.extend_from_slice(bytes.get(start..end)?);
        bytes.get(end..end + 2)?;
        at = end + 2;
        if size == 0 {
            return Some((body, at));
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::{NoResponse, Raw, parse};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that reads until it has `after` bytes and then writes `answer`, and closes if asked.
    async fn server(after: usize, answer: &'static [u8], close: bool) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut vec![0; after]).await.unwrap();
            stream.write_all(answer).await.unwrap();
            if !close {
                std::future::pending::<()>().await;
            }
        });
        address
    }

    #[tokio::test]
    async fn responses_on_one_connection_are_distinguished() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let mut raw = Raw::connect(server(2, answer, true).await).await;
        assert!(raw.send(b"\xff\n").await);
        let first = raw.response(Duration::from_secs(5)).await.unwrap();
        assert_eq!((first.status, first.body.as_slice()), (200, b"{}".as_slice()));
        let second = raw.response(Duration::from_secs(5)).await.unwrap();
        assert_eq!((second.status, second.body.as_slice()), (404, b"abc".as_slice()));
        assert!(raw.closes_within(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn an_end_within_a_response_is_not_a_response() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}";
        let mut raw = Raw::connect(server(0, answer, true).await).await;
        assert_eq!(raw.response(Duration::from_secs(5)).await, Err(NoResponse::Closed(answer.to_vec())));
    }

    #[tokio::test]
    async fn silence_and_an_end_are_distinguished() {
        let mut raw = Raw::connect(server(0, b"", false).await).await;
        assert_eq!(raw.response(Duration::from_millis(30)).await, Err(NoResponse::Late(Vec::new())));
        assert!(!raw.closes_within(Duration::from_millis(30)).await);
    }

    #[tokio::test]
    async fn the_answer_to_head_ends_with_its_head() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}";
        let mut raw = Raw::connect(server(0, answer, true).await).await;
        let first = raw.response_to_head(Duration::from_secs(5)).await.unwrap();
        assert_eq!((first.status, first.header("content-length")), (200, Some("9")));
        assert_eq!(raw.response(Duration::from_secs(5)).await.unwrap().json(), serde_json::json!({}));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let bytes = b"HTTP/1.0 400 Bad\r\n\r\nx";
        assert_eq!(parse(bytes, false), None);
        assert_eq!(parse(bytes, true).unwrap().0.body, b"x");
    }
}
