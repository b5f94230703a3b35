//! How we are connected, and what to say where when we are not.

use std::path::PathBuf;
use std::time::Duration;

use columba_core::control::ControlError;
use columba_core::units::Timestamp;

use crate::exit_code::ClientError;

/// How we are connected.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub(in crate::model) state: State,
    pub(in crate::model) server: String,
    pub(in crate::model) software: String,
    pub(in crate::model) fingerprint: Option<String>,
    pub(in crate::model) first_contact: bool,
    pub(in crate::model) udp_blocked: bool,
    /// The server's last fatal word, which comes before the engine's end.
    pub(in crate::model) denied: Option<(ControlError, String)>,
}

/// Where the connection stands.
#[derive(Clone, Debug)]
pub enum State {
    /// There is none; with the reason, unless we wanted it so or never had one.
    Offline(Option<Trouble>),
    /// The first one is being made.
    Connecting {
        /// Since when.
        since: Timestamp,
        /// What the last attempt failed of, and when the next one is made.
        retry: Option<Retry>,
    },
    /// We are in.
    Online {
        /// Since when.
        since: Timestamp,
    },
    /// It was lost and is being made anew.
    Reconnecting {
        /// Why it was lost.
        reason: String,
        /// Since when.
        since: Timestamp,
        /// What the last attempt failed of, and when the next one is made; `None` during an attempt.
        retry: Option<Retry>,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Offline(None)
    }
}

/// An attempt that failed, and when the next one comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Which attempt comes next, counted from 1.
    pub attempt: u32,
    /// When it comes.
    pub at: Timestamp,
    /// What the last one failed of.
    pub reason: String,
}

impl Retry {
    /// Whole seconds until the attempt, for the countdown; rounded up.
    #[must_use]
    pub fn seconds_left(&self, now: Timestamp) -> u64 {
        let left = self.at - now;
        left.as_secs() + u64::from(left.subsec_nanos() > 0)
    }
}

/// The field that an error stands next to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The server's address.
    Address,
    /// Our name.
    Name,
    /// The server's password.
    Password,
    /// The server's or our key.
    Key,
    /// None of them.
    None,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server cannot be reached.
    Unreachable {
        /// One line that says why and what to check.
        text: String,
    },
    /// Somebody else has the name now.
    NameTaken {
        /// The server's words.
        text: String,
    },
    /// The name belongs to another key.
    NameOwned {
        /// The server's words.
        text: String,
    },
    /// The name breaks a rule.
    NameInvalid {
        /// The server's words.
        text: String,
    },
    /// The server wants a password, or another one.
    PasswordWanted {
        /// The server's words.
        text: String,
    },
    /// The server does not know our key.
    KeyRefused {
        /// The server's words.
        text: String,
    },
    /// The server shows another key than before, or than the pinned one. Nothing was sent to it.
    KeyChanged {
        /// The fingerprint we trust.
        known: String,
        /// The fingerprint it shows.
        shown: String,
        /// Where trusted keys stand; `None` when the key was pinned.
        file: Option<PathBuf>,
    },
    /// We joined from elsewhere with the same name and key.
    Replaced {
        /// The server's words.
        text: String,
    },
    /// Anything else.
    Other {
        /// One line.
        text: String,
    },
}

impl Trouble {
    /// The field it concerns.
    #[must_use]
    pub const fn field(&self) -> Field {
        match self {
            Self::Unreachable { .. } => Field::Address,
            Self::NameTaken { .. } | Self::NameOwned { .. } | Self::NameInvalid { .. } => {
                Field::Name
            }
            Self::PasswordWanted { .. } => Field::Password,
            Self::KeyRefused { .. } | Self::KeyChanged { .. } => Field::Key,
            Self::Replaced { .. } | Self::Other { .. } => Field::None,
        }
    }

    /// One line for the person.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Unreachable { text }
            | Self::NameTaken { text }
            | Self::NameOwned { text }
            | Self::NameInvalid { text }
            | Self::PasswordWanted { text }
            | Self::KeyRefused { text }
            | Self::Replaced { text }
            | Self::Other { text } => text,
            Self::KeyChanged { .. } => {
                "the server shows another key than before: somebody may be in between, or it was set up anew"
            }
        }
    }

    /// What an engine ended with; `denied` is the server's last fatal word, if it said one.
    #[must_use]
    pub fn of(error: &ClientError, denied: Option<(ControlError, String)>) -> Self {
        if let Some((code, text)) = denied {
            return Self::denied(code, text);
        }
        let text = error.to_string();
        match error {
            ClientError::Connect { .. } => Self::Unreachable { text },
            ClientError::KeyChanged {
                known, shown, file, ..
            } => Self::KeyChanged {
                known: known.clone(),
                shown: shown.clone(),
                file: Some(file.clone()),
            },
            ClientError::Fingerprint { wanted, shown, .. } => Self::KeyChanged {
                known: wanted.clone(),
                shown: shown.clone(),
                file: None,
            },
            ClientError::Usage(_)
            | ClientError::Refused(_)
            | ClientError::NoSuchFile(_)
            | ClientError::Integrity { .. }
            | ClientError::Storage(_)
            | ClientError::State { .. }
            | ClientError::Stalled(_)
            | ClientError::Partial { .. }
            | ClientError::Stopped { .. }
            | ClientError::Server(_)
            | ClientError::Lost(_)
            | ClientError::System { .. } => Self::Other { text },
        }
    }

    fn denied(code: ControlError, text: String) -> Self {
        match code {
            ControlError::NameTaken => Self::NameTaken { text },
            ControlError::NameOwned => Self::NameOwned { text },
            ControlError::NameInvalid => Self::NameInvalid { text },
            ControlError::Password => Self::PasswordWanted { text },
            ControlError::KeyNotAuthorized => Self::KeyRefused { text },
            ControlError::Replaced => Self::Replaced { text },
            ControlError::ServerFull | ControlError::ShuttingDown | ControlError::Version => {
                Self::Unreachable { text }
            }
            ControlError::BadFrame
            | ControlError::NoSuchUser
            | ControlError::NoSuchFile
            | ControlError::TooFast
            | ControlError::SlowReader
            | ControlError::NotJoined
            | ControlError::TextTooLong
            | ControlError::FileChanged
            | ControlError::Unreadable
            | ControlError::Idle
            | ControlError::Internal
            | ControlError::TooManyTransfers
            | ControlError::Address
            | ControlError::Other(_) => Self::Other { text },
        }
    }
}

impl Connection {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether we are in.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    /// Whether there is an engine: connecting, online or reconnecting.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !matches!(self.state, State::Offline(_))
    }

    /// Why there is no connection, if there is a reason.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        match &self.state {
            State::Offline(trouble) => trouble.as_ref(),
            State::Connecting { .. } | State::Online { .. } | State::Reconnecting { .. } => None,
        }
    }

    /// The server as given, like `host:11490`.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The server's software.
    #[must_use]
    pub fn software(&self) -> &str {
        &self.software
    }

    /// The server's key, as 64 hex digits, once it was seen in this session.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Whether the server's key was seen for the first time: show it, so that it can be compared.
    #[must_use]
    pub const fn is_first_contact(&self) -> bool {
        self.first_contact
    }

    /// Whether the server answers over TCP and not over UDP: downloads cannot begin.
    #[must_use]
    pub const fn is_udp_blocked(&self) -> bool {
        self.udp_blocked
    }

    /// When a countdown that is shown changes next.
    #[must_use]
    pub fn next_tick(&self, now: Timestamp) -> Option<Timestamp> {
        let retry = match &self.state {
            State::Connecting { retry, .. } | State::Reconnecting { retry, .. } => {
                retry.as_ref()?
            }
            State::Offline(_) | State::Online { .. } => return None,
        };
        let left = retry.at - now;
        (!left.is_zero()).then(|| {
            let part = Duration::from_nanos(u64::from(left.subsec_nanos()));
            now + if part.is_zero() {
                Duration::from_secs(1)
            } else {
                part
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_next_to_its_field() {
        let ended = |code| {
            Trouble::of(
                &ClientError::Refused("x".to_owned()),
                Some((code, "words".to_owned())),
            )
        };
        for (code, field) in [
            (ControlError::NameTaken, Field::Name),
            (ControlError::NameOwned, Field::Name),
            (ControlError::NameInvalid, Field::Name),
            (ControlError::Password, Field::Password),
            (ControlError::KeyNotAuthorized, Field::Key),
            (ControlError::ServerFull, Field::Address),
            (ControlError::Internal, Field::None),
        ] {
            assert_eq!(ended(code).field(), field, "{code:?}");
            assert_eq!(ended(code).text(), "words");
        }
    }

    #[test]
    fn a_changed_key_keeps_both_fingerprints() {
        let error = ClientError::KeyChanged {
            server: "h".to_owned(),
            known: "a".to_owned(),
            shown: "b".to_owned(),
            file: "f".into(),
        };
        let Trouble::KeyChanged { known, shown, file } = Trouble::of(&error, None) else {
            panic!("a changed key");
        };
        assert_eq!(
            (known.as_str(), shown.as_str(), file),
            ("a", "b", Some("f".into()))
        );
    }

    #[test]
    fn a_countdown_ticks_at_whole_seconds_and_ends() {
        let at = Timestamp::ZERO + Duration::from_millis(2500);
        let retry = Retry {
            attempt: 2,
            at,
            reason: String::new(),
        };
        assert_eq!(retry.seconds_left(Timestamp::ZERO), 3);
        let connection = Connection {
            state: State::Reconnecting {
                reason: String::new(),
                since: Timestamp::ZERO,
                retry: Some(retry),
            },
            ..Connection::default()
        };
        let first = connection.next_tick(Timestamp::ZERO).unwrap();
        assert_eq!(first, Timestamp::ZERO + Duration::from_millis(500));
        assert_eq!(
            connection.next_tick(first).unwrap() - first,
            Duration::from_secs(1)
        );
        assert_eq!(connection.next_tick(at), None);
    }
}
