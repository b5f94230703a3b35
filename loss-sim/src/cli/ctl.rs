//! `columba-loss-sim ctl`: talks to the control socket of a running proxy.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::print_line;

/// How long the proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of the proxy.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    address: String,
    method: &'static str,
    path: &'static str,
    body: Value,
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// Nobody there.
    #[error("cannot reach {address}: {error}")]
    Connect {
        address: String,
        #[source]
        error: io::Error,
    },
    /// The proxy says no.
    #[error("{0}")]
    Refused(String),
    /// Something is there, but not this program's control socket.
    #[error("no answer that makes sense: {0}")]
    Answer(String),
}

impl From<io::Error> for CtlError {
    fn from(error: io::Error) -> Self {
        Self::Answer(error.to_string())
    }
}

pub(super) fn command() -> Command {
    Command::new("ctl")
        .about("Look at a running proxy, or change it, through its control socket")
        .subcommand_required(true)
        .arg(
            Arg::new("control")
                .long("control")
                .value_name("ADDR")
                .env("COLUMBA_LOSS_SIM_CONTROL")
                .required(true)
                .help("Where the proxy listens, as given to it with --control"),
        )
        .subcommand(Command::new("stats").about("Print the counters as JSON"))
        .subcommand(
            Command::new("set")
                .about("Change impairments, such as: set loss=5% down-rate=10mbit delay=off")
                .arg(
                    Arg::new("settings")
                        .value_name("NAME=VALUE")
                        .num_args(1..)
                        .required(true)
                        .value_parser(parse_setting),
                ),
        )
        .subcommand(
            Command::new("rebind")
                .about("Move all UDP clients, as the server sees them")
                .arg(
                    Arg::new("kind")
                        .value_parser(["port", "address"])
                        .default_value("port"),
                ),
        )
        .subcommand(Command::new("stop").about("End the proxy in good order"))
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "needs the form NAME=VALUE".into())
}

/// Makes a request of the arguments of `ctl`.
pub(super) fn request(matches: &ArgMatches) -> Option<Request> {
    let address = matches.get_one::<String>("control")?.clone();
    let (name, matches) = matches.subcommand()?;
    let (method, path, body) = match name {
        "stats" => ("GET", "/stats", Value::Null),
        "set" => {
            let settings = matches.get_many::<(String, String)>("settings")?;
            let settings = settings
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect::<Map<_, _>>();
            ("POST", "/set", Value::Object(settings))
        }
        "rebind" => {
            let kind = matches.get_one::<String>("kind")?;
            ("POST", "/rebind", json!({ "kind": kind }))
        }
        "stop" => ("POST", "/stop", Value::Null),
        _ => return None,
    };
    Some(Request {
        address,
        method,
        path,
        body,
    })
}

/// Sends the request, and prints the answer.
pub(super) fn run(request: &Request) -> Result<(), CtlError> {
    let address = &request.address;
    let mut stream = TcpStream::connect(address).map_err(|error| CtlError::Connect {
        address: address.clone(),
        error,
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = request.body.to_string();
    write!(
        stream,
        "{} {} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        request.method,
        request.path,
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| CtlError::Answer("not HTTP".into()))?;
    if head.split_ascii_whitespace().nth(1) == Some("200") {
        print_line(body.trim_end())?;
        return Ok(());
    }
    let error: Value = serde_json::from_str(body).unwrap_or_default();
    match error.get("error").and_then(Value::as_str) {
        Some(text) => Err(CtlError::Refused(text.to_owned())),
        None => Err(CtlError::Answer(
            head.lines().next().unwrap_or("").to_owned(),
        )),
    }
}
