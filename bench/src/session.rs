//! A server process, perhaps a bad network before it, and how clients reach them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::chat::Service;
use crate::download::{FileOutcome, Order, Told};
use crate::processes::{Heard, Launch, ProcessId};
use crate::progress::Progress;
use crate::roles::{Role, USAGE_QUESTION, Usage};
use crate::stage::{PATIENCE, Stage};

/// Without a sign of life from a download for so long, something is wrong; the client itself gives up earlier.
pub(crate) const STALL_LIMIT: Duration = Duration::from_secs(120);

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerOptions<'a> {
    pub(crate) share: &'a Path,
    pub(crate) congestion: Option<&'a str>,
    pub(crate) plaintext: bool,
    /// `None`: the server's default.
    pub(crate) cipher: Option<&'a str>,
}

/// Where a server of this machine alone listens; it picks the port.
pub(crate) const LOOPBACK: &str = "127.0.0.1:0";

/// A running server.
#[derive(Debug)]
pub(crate) struct Session {
    server: ProcessId,
    /// Where clients connect to: the server, or the network before it.
    address: String,
    /// `None` in plaintext mode.
    fingerprint: Option<String>,
    network: Option<ProcessId>,
}

/// The server's counters of file transfers.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct TransferCounters {
    pub(crate) data_packets: u64,
    pub(crate) retransmitted_packets: u64,
    /// Packets taken for lost that were acknowledged after all.
    pub(crate) spurious_losses: u64,
}

/// What happened to the datagrams of one direction.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct LinkCounters {
    pub(crate) packets: u64,
    pub(crate) loss_rate: f64,
}

/// What happened to all datagrams.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct PathCounters {
    pub(crate) up: LinkCounters,
    pub(crate) down: LinkCounters,
}

/// Arguments from anything that is one.
pub(crate) fn arguments<T: Into<OsString>>(list: impl IntoIterator<Item = T>) -> Vec<OsString> {
    list.into_iter().map(Into::into).collect()
}

impl Session {
    /// Starts a server on loopback and waits until it serves.
    pub(crate) fn start(stage: &mut Stage, options: ServerOptions<'_>) -> Result<Self> {
        Self::start_with(stage, options, LOOPBACK, Vec::new())
    }

    /// Starts a server at an address of the namespace that the calling thread is in, with further arguments.
    pub(crate) fn start_with(
        stage: &mut Stage,
        options: ServerOptions<'_>,
        listen: &str,
        more: Vec<OsString>,
    ) -> Result<Self> {
        let mut list = arguments(["--listen", listen, "--ready-json", "--state"]);
        list.push(stage.make_unique_folder("server")?.into());
        if options.plaintext {
            list.push("--plaintext".into());
        }
        if let Some(cipher) = options.cipher {
            list.extend(arguments(["--cipher", cipher]));
        }
        if let Some(congestion) = options.congestion {
            list.extend(arguments(["--congestion", congestion]));
        }
        list.extend(more);
        list.push(options.share.into());
        let (server, ready) = stage.start_serving(Role::Server, "server", list)?;
        let text = |field: &str| ready[field].as_str().map(str::to_owned);
        Ok(Self {
            server,
            address: text("address").context("the server named no address")?,
            fingerprint: if options.plaintext {
                None
            } else {
                text("fingerprint")
            },
            network: None,
        })
    }

    /// Puts a network with these impairments before the server.
    pub(crate) fn impair(&mut self, stage: &mut Stage, impairments: Vec<OsString>) -> Result<()> {
        let mut list = arguments([
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &self.address,
            "--ready-json",
            "--stats-json",
        ]);
        list.extend(impairments);
        let (network, ready) = stage.start_serving(Role::LossSim, "network", list)?;
        let address = ready["address"]
            .as_str()
            .context("the network named no address")?;
        self.address = address.to_owned();
        self.network = Some(network);
        Ok(())
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Has clients connect to something that relays to the server.
    pub(crate) fn connect_through(&mut self, address: &str) {
        address.clone_into(&mut self.address);
    }

    /// Kills the server's process, as a crash would.
    pub(crate) fn kill_server(&self, stage: &mut Stage) {
        stage.process(self.server).kill();
    }

    /// Arguments of a client's command: how to reach the server, with the key and state of `user`.
    pub(crate) fn client_arguments(
        &self,
        stage: &Stage,
        user: &str,
        command: &[&str],
    ) -> Result<Vec<OsString>> {
        let mut list = arguments(["-s", &self.address, "--state"]);
        list.push(stage.make_folder(&format!("user-{user}"))?.into());
        match &self.fingerprint {
            Some(fingerprint) => list.extend(arguments(["--fingerprint", fingerprint])),
            None => list.push("--plaintext".into()),
        }
        list.extend(arguments(command.iter().copied()));
        Ok(list)
    }

    /// How chat members reach it.
    pub(crate) fn chat_service(&self) -> Result<Service> {
        let key = self.fingerprint.as_ref().map(|text| text.parse());
        Ok(Service::Columba {
            address: self
                .address
                .parse()
                .context("the server named no address")?,
            key: key
                .transpose()
                .context("the server's fingerprint is none")?,
        })
    }

    /// The server's process.
    pub(crate) const fn server(&self) -> ProcessId {
        self.server
    }

    /// Runs a client's command that answers in lines of JSON.
    pub(crate) fn ask(&self, stage: &mut Stage, command: &[&str]) -> Result<Vec<Value>> {
        let list = self.client_arguments(stage, "operator", command)?;
        let name = format!("client ({})", command.join(" "));
        let lines = stage.ask(Role::Client, &name, list)?;
        let parse = |line: String| {
            serde_json::from_str(&line)
                .with_context(|| format!("the {name} said {line:?}, which is no JSON"))
        };
        lines.into_iter().map(parse).collect()
    }

    /// An order for a download, with the key and state of one more user.
    pub(crate) fn order<'n>(
        &self,
        stage: &Stage,
        names: impl IntoIterator<Item = &'n str>,
        folder: Option<PathBuf>,
        max_datagram: u16,
    ) -> Result<Order> {
        Ok(Order {
            server: self.address.clone(),
            fingerprint: self.fingerprint.clone(),
            state: stage.make_folder("user-downloader")?,
            names: names.into_iter().map(str::to_owned).collect(),
            folder,
            max_datagram,
            summary: false,
        })
    }

    /// Starts a download; it tells what happens as [`Told`] lines.
    pub(crate) fn start_download(&self, stage: &mut Stage, order: &Order) -> Result<ProcessId> {
        stage.start(&Launch {
            role: Role::Download,
            name: "downloading client",
            arguments: arguments([serde_json::to_string(order)?]),
        })
    }

    /// Downloads one file and waits for it; returns also what the whole process has used.
    pub(crate) fn download_file(
        &self,
        stage: &mut Stage,
        order: &Order,
        progress: &Progress,
    ) -> Result<(FileOutcome, Usage)> {
        let client = self.start_download(stage, order)?;
        let (mut file, mut used) = (None, Usage::default());
        let mut alive = Instant::now();
        loop {
            match stage.next(alive + STALL_LIMIT)? {
                Some(Heard::Line { from, at, text }) if from == client => {
                    alive = at;
                    let told = serde_json::from_str(&text)
                        .with_context(|| format!("the download said {text:?}"))?;
                    match told {
                        Told::Progress {
                            done_bytes,
                            total_bytes,
                            current,
                        } => {
                            progress.update(done_bytes, total_bytes, &current);
                        }
                        Told::File(outcome) => file = Some(outcome),
                        Told::Failed { file, error } => bail!("{file}: {error}"),
                        Told::Done(usage) => used = usage,
                    }
                }
                Some(Heard::Closed { from }) if from == client => break,
                Some(_) => {}
                None => bail!(
                    "the download stands still for {STALL_LIMIT:?}{}",
                    stage.process(client).last_words()
                ),
            }
        }
        stage.process(client).expect_success(PATIENCE)?;
        Ok((file.context("the download told of no file")?, used))
    }

    /// The server's counters of file transfers.
    pub(crate) fn transfer_counters(&self, stage: &mut Stage) -> Result<TransferCounters> {
        let report = self.ask(stage, &["stats", "--json"])?;
        let report = report
            .into_iter()
            .next()
            .context("the server has no counters")?;
        TransferCounters::deserialize(&report["transfers"])
            .with_context(|| format!("the server's counters lack some of transfers: {report}"))
    }

    /// What the server has used so far.
    pub(crate) fn server_usage(&self, stage: &mut Stage) -> Result<Usage> {
        stage.process(self.server).say(USAGE_QUESTION)?;
        let answer = stage.next_json_of(self.server, "what it used")?;
        Ok(Usage::deserialize(&answer)?)
    }

    /// Ends the network, if there is one, and the server. Both must end well.
    pub(crate) fn end(self, stage: &mut Stage) -> Result<Option<PathCounters>> {
        let mut counters = None;
        if let Some(network) = self.network {
            stage.process(network).terminate();
            let report = stage.next_json_of(network, "its counters")?;
            counters = Some(
                PathCounters::deserialize(&report)
                    .with_context(|| format!("the network's counters lack something: {report}"))?,
            );
            stage.process(network).expect_success(PATIENCE)?;
        }
        stage.process(self.server).terminate();
        stage.process(self.server).expect_success(PATIENCE)?;
        Ok(counters)
    }
}
