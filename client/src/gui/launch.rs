//! How a window begins.

use std::path::PathBuf;
use std::sync::Arc;

use columba_net::clock::Clock;
use columba_net::identity::Fingerprint;

use super::clock::Watch;
use super::screen::connect::Wish;
use super::worker::Session;
use crate::engine::message::{CONNECT_FOR, EngineConfig, Security, TransferOptions, Trust};
use crate::exit_code::ClientError;
use crate::keys;
use crate::known_servers::KnownServers;
use crate::model::Model;
use crate::places::StateFolder;
use crate::preferences::Preferences;
use crate::storage::disk::DiskStorage;
use crate::storage::{Existing, Storage};

/// What a window is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The server as written; `None` when it was not given.
    pub server: Option<String>,
    /// Our name, if it was given.
    pub name: Option<String>,
    /// The password, or empty.
    pub password: String,
    /// Without TLS.
    pub plaintext: bool,
    /// The only key to accept.
    pub fingerprint: Option<Fingerprint>,
    /// Our own files.
    pub state: StateFolder,
    /// Where preferences are kept; `None` to remember nothing.
    pub preferences: Option<PathBuf>,
    /// Another folder for downloads than the remembered one.
    pub downloads: Option<PathBuf>,
    /// What could not be read, for the person.
    pub warning: Option<String>,
    /// The clock.
    pub watch: Watch,
}

impl Launch {
    /// A window that was given nothing, with its files in this folder.
    #[must_use]
    pub fn new(state: StateFolder) -> Self {
        Self {
            server: None,
            name: None,
            password: String::new(),
            plaintext: false,
            fingerprint: None,
            preferences: Some(state.preferences()),
            state,
            downloads: None,
            warning: None,
            watch: Watch::Real(Clock::new()),
        }
    }

    /// Preferences, and what is wrong with their file.
    pub(super) fn load(&self) -> (Preferences, Option<String>) {
        let loaded = self.preferences.as_deref().map(Preferences::load);
        loaded.unwrap_or_default()
    }

    /// The engine that a wish asks for.
    pub(super) fn session(
        &self,
        wish: &Wish,
        number: u64,
        downloads: PathBuf,
    ) -> Result<Session, ClientError> {
        let security = if wish.plaintext {
            Security::Plaintext
        } else {
            Security::Tls {
                identity: keys::load_or_create(&self.state.key())?,
                trust: self.fingerprint.map_or_else(
                    || Trust::FirstUse(KnownServers::at(self.state.known_servers())),
                    Trust::Pinned,
                ),
            }
        };
        let storage = DiskStorage::new(downloads, Existing::Rename);
        Ok(Session {
            number,
            config: EngineConfig {
                server: wish.server.clone(),
                security,
                password: Arc::from(wish.password.as_str()),
                name: Some(wish.name.clone()),
                storage: Arc::new(storage) as Arc<dyn Storage>,
                transfer: TransferOptions::default(),
                reconnect: true,
                connect_for: CONNECT_FOR,
            },
            first: Model::first_questions(),
        })
    }
}
