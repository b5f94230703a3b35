//! What the tests share.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use columba_client::download::{GetSummary, get};
use columba_client::engine::message::{EngineConfig, Event, Security, TransferOptions, Trust};
use columba_client::exit_code::ClientError;
use columba_client::known_servers::KnownServers;
use columba_client::places::ServerName;
use columba_client::storage::disk::DiskStorage;
use columba_client::storage::{Existing, Storage};

use columba_net::identity::{Fingerprint, Identity};

use super::scripted::{Script, Scripted};

/// A server to talk to: where it is, and its key unless it speaks plaintext.
pub trait Target {
    fn address(&self) -> SocketAddr;
    fn fingerprint(&self) -> Option<Fingerprint>;
}

impl Target for Scripted {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }
}

/// Bytes that differ everywhere, the same for the same seed.
pub fn content(size: usize, seed: u8) -> Arc<Vec<u8>> {
    let mut data = vec![0; size];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut data);
    Arc::new(data)
}

pub fn sharing(files: &[(&str, &Arc<Vec<u8>>)]) -> Script {
    Script {
        files: files
            .iter()
            .map(|(name, data)| ((*name).to_owned(), Arc::clone(data)))
            .collect(),
        ..Script::default()
    }
}

pub fn config(server: &impl Target, storage: Arc<dyn Storage>) -> EngineConfig {
    EngineConfig {
        server: ServerName::parse(&server.address().to_string()).unwrap(),
        security: match server.fingerprint() {
            None => Security::Plaintext,
            Some(fingerprint) => Security::Tls {
                identity: Identity::generate().unwrap(),
                trust: Trust::Pinned(fingerprint),
            },
        },
        password: Arc::from(""),
        name: None,
        storage,
        transfer: TransferOptions::default(),
        reconnect: false,
        connect_for: Duration::from_secs(5),
    }
}

pub fn on_disk(folder: &Path) -> Arc<dyn Storage> {
    Arc::new(DiskStorage::new(folder.to_path_buf(), Existing::Refuse))
}

pub fn fetch(
    config: EngineConfig,
    names: &[&str],
    on_event: impl FnMut(&Event),
) -> Result<GetSummary, ClientError> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    get(config, names, None, |_| (), on_event)
}

pub fn first_use(folder: &Path) -> Trust {
    Trust::FirstUse(KnownServers::at(folder.join("known_servers")))
}

/// The program itself, with a state of its own.
pub struct Program {
    pub state: tempfile::TempDir,
    pub server: String,
    pub plaintext: bool,
}

impl Program {
    pub fn new(server: &impl Target) -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
            server: server.address().to_string(),
            plaintext: server.fingerprint().is_none(),
        }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COLUMBA_")) {
            command.env_remove(name);
        }
        command
            .args(["-s", &self.server])
            .arg("--state")
            .arg(self.state.path());
        if self.plaintext {
            command.arg("--plaintext");
        }
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// All files below a folder with their content, sorted.
pub fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
