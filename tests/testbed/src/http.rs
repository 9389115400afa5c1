//! The smallest HTTP client that talks to servers written in Go: one request per connection. It speaks HTTP/1.0, which
//! keeps chunked bodies out of the answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON, `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Itself if it is a success, otherwise an error that quotes it.
    pub fn success(self, what: &str) -> Result<Self> {
        if self.is_success() { Ok(self) } else { Err(anyhow!("{what}: {} {}", self.status, self.body.trim())) }
    }
}

pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, LIMIT).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request over a fresh connection.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    content: Option<(&str, &str)>,
) -> Result<Answer> {
    let (kind, body) = content.unwrap_or_default();
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    if content.is_some() {
        request.push_str("Content-Type: ");
        request.push_str(kind);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    // A peer may close without TLS's own goodbye; the head is checked below.
    if let Err(error) = stream.read_to_end(&mut answer)
        && error.kind() != std::io::ErrorKind::UnexpectedEof
    {
        return Err(error).with_context(|| format!("{method} {path}"));
    }
    parse(&String::from_utf8_lossy(&answer)).with_context(|| format!("{method} {path}: not an HTTP answer"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// A value for the query of a URL.
pub(crate) fn escape(value: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{escape, parse};

    #[test]
    fn answers_are_read() {
        let answer = parse("HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nno\r\n\r\nmore").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "no\r\n\r\nmore"));
        assert!(parse("garbage\r\n\r\n").is_none());
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escape("up{a=\"b\"} > 1"), "up%7Ba%3D%22b%22%7D%20%3E%201");
    }
}
