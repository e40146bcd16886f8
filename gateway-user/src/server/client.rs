//! The other end of the Unix socket: one request, one answer, no library.

use std::{
    fmt,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// An agent that does not answer for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nobody listens on the socket.
#[derive(Debug)]
pub struct Unreachable(std::io::Error);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no agent answers: {}", self.0)
    }
}

impl std::error::Error for Unreachable {}

/// Asks the agent behind a socket. HTTP/1.0, so that the answer comes in one
/// piece and ends with the connection.
pub fn get(socket: &Path, path: &str) -> Result<String> {
    exchange(
        socket,
        &format!("GET {path} HTTP/1.0\r\nHost: lingyun\r\n\r\n"),
    )
}

/// Tells the agent behind a socket to do something, in JSON.
pub fn post(socket: &Path, path: &str, json: &str) -> Result<String> {
    let length = json.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: lingyun\r\nContent-Length: {length}");
    exchange(
        socket,
        &format!("{head}\r\nContent-Type: application/json\r\n\r\n{json}"),
    )
}

fn exchange(socket: &Path, request: &str) -> Result<String> {
    let at = || socket.display().to_string();
    let mut stream = UnixStream::connect(socket)
        .map_err(Unreachable)
        .with_context(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes()).with_context(at)?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("{}: the agent does not answer", at()))?;
    body(&answer).with_context(at).map(str::to_owned)
}

fn body(answer: &str) -> Result<&str> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("this is no HTTP answer")?;
    let code = head.split(' ').nth(1).unwrap_or_default();
    if code != "200" {
        bail!("the agent answers {code}: {}", body.trim_end());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_follows_the_head() {
        assert_eq!(body("HTTP/1.0 200 OK\r\na: b\r\n\r\n{}\n").unwrap(), "{}\n");
        let error = body("HTTP/1.0 500 Oh\r\n\r\nno counters\n").unwrap_err();
        assert_eq!(error.to_string(), "the agent answers 500: no counters");
        assert!(body("gibberish").is_err());
    }

    #[test]
    fn nobody_listens() {
        let error = get(Path::new("/nonexistent/lingyun.sock"), "/status").unwrap_err();
        assert!(error.downcast_ref::<Unreachable>().is_some(), "{error:#}");
    }
}
