//! The control socket: HTTP with JSON, to look at a running proxy, or link, and to change it.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /stats` | | the counters |
//! | `POST /set` | `{"loss": "5%", "down-rate": "10mbit", "delay": "off"}` | `{"ok": true}` |
//! | `POST /rebind` | `{"kind": "port"}` or `"address"` | `{"ok": true}` |
//! | `POST /stop` | | `{"ok": true}` |
//!
//! Errors are `{"error": "..."}` with status 400, 403, 404, 413 or 500. It has a thread of its own, so that whoever
//! asks slowly keeps no packet waiting, and takes one connection after the other.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{debug, warn};

use crate::proxy::config::ProxyError;
use crate::proxy::handle::PathHandle;

/// Longest request, headers and body each, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// How long a connection may take over each read or write.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens for requests on a thread of its own, which lives as long as the process. Gives the address.
///
/// # Errors
/// An address that can't be had.
pub fn serve_control(
    address: SocketAddr,
    handle: impl Into<PathHandle>,
) -> Result<SocketAddr, ProxyError> {
    let handle = handle.into();
    let listen_error = |error| ProxyError::Listen { address, error };
    let listener = TcpListener::bind(address).map_err(listen_error)?;
    let bound = listener.local_addr().map_err(listen_error)?;
    if !bound.ip().is_loopback() {
        warn!("whoever reaches {bound} can change this network: there is no password");
    }
    thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for stream in listener.incoming() {
                let served = stream.and_then(|stream| serve(&stream, &handle));
                if let Err(error) = served {
                    debug!("control connection: {error}");
                }
            }
        })
        .map_err(ProxyError::system("start a thread"))?;
    Ok(bound)
}

/// An answer: its status and body.
type Answer = (u16, Value);

fn refusal(status: u16, text: &(impl ToString + ?Sized)) -> Answer {
    (status, json!({"error": text.to_string()}))
}

fn serve(stream: &TcpStream, handle: &PathHandle) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = read_request(&mut BufReader::new(stream))?;
    let (status, body) = match &request {
        Ok(request) => answer(request, handle),
        Err(refused) => refused.clone(),
    };
    send_answer(stream, status, &body)?;
    if request.is_ok_and(|request| request.is_stop()) {
        // Only now: the process may be gone before another word.
        handle.stop();
    }
    Ok(())
}

fn send_answer(mut stream: &TcpStream, status: u16, body: &Value) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Content Too Large",
        500 => "Internal Server Error",
        _ => "Bad Request",
    };
    let body = format!("{body}\n");
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl Request {
    fn is_stop(&self) -> bool {
        (self.method.as_str(), self.path.as_str()) == ("POST", "/stop")
    }
}

/// Reads a request, or says why it is refused.
fn read_request(reader: &mut impl BufRead) -> io::Result<Result<Request, Answer>> {
    let mut head = reader.by_ref().take(MAX_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let mut words = line.split_ascii_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(Err(refusal(400, "not an HTTP request")));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Ok(Err(refusal(
                413,
                "the request does not end, or is too long",
            )));
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("origin") {
            // Only browsers send it: a page from elsewhere has no business here.
            return Ok(Err(refusal(403, "not from web pages")));
        }
        if name.eq_ignore_ascii_case("content-length") {
            match value.trim().parse::<u64>() {
                Ok(value) if value <= MAX_BYTES => length = value,
                _ => return Ok(Err(refusal(413, "the body is too long"))),
            }
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut body)?;
    Ok(Ok(Request { method, path, body }))
}

fn answer(request: &Request, handle: &PathHandle) -> Answer {
    let done = |result: Result<(), ProxyError>| match result {
        Ok(()) => (200, json!({"ok": true})),
        Err(
            error @ (ProxyError::Change(_)
            | ProxyError::RebindAddress { .. }
            | ProxyError::NoClients),
        ) => refusal(400, &error),
        Err(error) => refusal(500, &error),
    };
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/stats") => match serde_json::to_value(handle.stats()) {
            Ok(stats) => (200, stats),
            Err(error) => refusal(500, &error),
        },
        ("POST", "/set") => match settings(&request.body) {
            Ok(settings) => done(handle.change(settings)),
            Err(error) => refusal(400, &error),
        },
        ("POST", "/rebind") => match settings(&request.body) {
            Ok(settings) => match settings.get("kind").map(|kind| kind.parse()) {
                Some(Ok(kind)) => done(handle.rebind(kind)),
                Some(Err(error)) => refusal(400, &error),
                None => refusal(400, "needs a kind: port or address"),
            },
            Err(error) => refusal(400, &error),
        },
        _ if request.is_stop() => done(Ok(())),
        _ => refusal(
            404,
            "there are GET /stats, POST /set, POST /rebind and POST /stop",
        ),
    }
}

/// Reads an object of names and values as they would be written on the command line.
fn settings(body: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let object: BTreeMap<String, Value> = serde_json::from_slice(body)
        .map_err(|error| format!("the body must be a JSON object: {error}"))?;
    let text = |value: Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    Ok(object
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, u16> {
        let request = read_request(&mut BufReader::new(text.as_bytes())).unwrap();
        request.map_err(|(status, _)| status)
    }

    #[test]
    fn requests_are_read() {
        let text = "POST /set HTTP/1.1\r\nHost: x\r\ncontent-length: 4\r\n\r\n{}  rest";
        let request = read(text).unwrap();
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/set")
        );
        assert_eq!(request.body, b"{}  ");
    }

    #[test]
    fn strange_requests_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(70_000));
        for (text, status) in [
            ("", 400),
            ("\r\n", 400),
            ("GET / HTTP/1.1\r\nno end", 413),
            ("GET / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nOrigin: http://elsewhere\r\n\r\n", 403),
            (long.as_str(), 413),
        ] {
            assert_eq!(read(text), Err(status));
        }
    }

    #[test]
    fn values_may_be_numbers_or_text() {
        let settings = settings(br#"{"loss": 0.05, "delay": "2ms"}"#).unwrap();
        assert_eq!(settings["loss"], "0.05");
        assert_eq!(settings["delay"], "2ms");
        assert!(super::settings(b"[1]").is_err());
    }
}
