//! The chat without I/O: who is here, who may have which name, and what everybody hears.
//!
//! The lobby calls a [`Post`] to have frames delivered. A frame for many is encoded once and shared.

mod history;
mod presence;

use std::collections::HashMap;

use bytes::Bytes;
use columba_core::chat::{NameKey, TextError, check_name, check_text};
use columba_core::control::{
    ControlError, Frame, Framing, Heard, History as Kept, Message, Whispered, pages,
};
use columba_core::units::Timestamp;

use crate::names::{Claim, KeyFingerprint, NameRegistry};
use crate::slots::SlotId;
use history::History;
use presence::Presence;

/// Where the lobby puts frames.
pub trait Post {
    /// Puts a frame into the queue of `to`. What the queue cannot take is the queue's own business.
    fn deliver(&mut self, to: SlotId, frame: &Bytes);
}

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For deadlines.
    pub now: Timestamp,
    /// For people: milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// Why something was refused: a code and one line for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's code.
    pub code: ControlError,
    /// One line that says what to do.
    pub text: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ControlError, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// A user in the chat.
#[derive(Debug)]
struct Member {
    id: SlotId,
    name: String,
    key: NameKey,
    /// The key the user proved; `None` in plaintext mode.
    owner: Option<KeyFingerprint>,
}

/// Counters of the chat.
#[derive(Clone, Copy, Debug, Default)]
pub struct LobbyCounts {
    /// Messages to everybody.
    pub messages: u64,
    /// Whispers.
    pub whispers: u64,
    /// Frames put into queues.
    pub deliveries: u64,
    /// Joins.
    pub joins: u64,
    /// Joins refused.
    pub refusals: u64,
}

/// Everybody in the chat.
#[derive(Debug)]
pub struct Lobby {
    framing: Framing,
    /// Dense, so that a broadcast walks memory in order.
    members: Vec<Member>,
    place: HashMap<SlotId, usize>,
    by_key: HashMap<NameKey, SlotId>,
    presence: Presence,
    history: History,
    /// The pages of the user list, until somebody comes or goes.
    user_list: Option<Vec<Bytes>>,
    counts: LobbyCounts,
}

impl Lobby {
    /// An empty chat whose clients read frames in this framing; `chat` tells it from any other.
    #[must_use]
    pub fn new(framing: Framing, chat: u64) -> Self {
        Self {
            framing,
            members: Vec::new(),
            place: HashMap::new(),
            by_key: HashMap::new(),
            presence: Presence::default(),
            history: History::new(chat),
            user_list: None,
            counts: LobbyCounts::default(),
        }
    }

    /// Number of the last message to everybody.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.history.sequence()
    }

    /// What a Welcome says of what is kept, to somebody who heard so much of a chat.
    #[must_use]
    pub fn history(&self, heard: Option<Heard>) -> Kept {
        Kept {
            chat: self.history.chat(),
            missed: heard.map_or(0, |heard| self.history.missed(heard)),
        }
    }

    /// Sends what was said since then and is kept, in order.
    pub fn replay(&mut self, to: SlotId, heard: Heard, post: &mut impl Post) {
        for frame in self.history.kept(heard) {
            post.deliver(to, frame);
            self.counts.deliveries += 1;
        }
    }

    /// How many users are in the chat.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is in the chat.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The counters.
    #[must_use]
    pub fn counts(&self) -> LobbyCounts {
        self.counts
    }

    /// The name that `id` has in the chat.
    #[must_use]
    pub fn name_of(&self, id: SlotId) -> Option<&str> {
        self.place
            .get(&id)
            .map(|&place| self.members[place].name.as_str())
    }

    /// The user who is called like this, and the key the user proved.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(SlotId, Option<KeyFingerprint>)> {
        let place = *self.place.get(self.by_key.get(&NameKey::of(name))?)?;
        self.members
            .get(place)
            .map(|member| (member.id, member.owner))
    }

    /// Takes a user into the chat. Returns the session that this one replaces, if the same user was here already:
    /// it is out of the chat, and its connection is the caller's to close.
    ///
    /// # Errors
    /// The name breaks a rule, somebody who is here has it, or it belongs to another key.
    pub fn join(
        &mut self,
        id: SlotId,
        name: &str,
        owner: Option<KeyFingerprint>,
        names: &mut NameRegistry,
        moment: Moment,
    ) -> Result<Option<SlotId>, Refusal> {
        let replaced = match self.may_join(name, owner, names, moment) {
            Ok(replaced) => replaced,
            Err(refusal) => {
                self.counts.refusals += 1;
                return Err(refusal);
            }
        };
        self.counts.joins += 1;
        if let Some(old) = replaced {
            self.leave(old);
        }
        let key = NameKey::of(name);
        self.place.insert(id, self.members.len());
        self.by_key.insert(key.clone(), id);
        self.members.push(Member {
            id,
            name: name.to_owned(),
            key,
            owner,
        });
        self.presence.join(name);
        self.user_list = None;
        Ok(replaced)
    }

    fn may_join(
        &self,
        name: &str,
        owner: Option<KeyFingerprint>,
        names: &mut NameRegistry,
        moment: Moment,
    ) -> Result<Option<SlotId>, Refusal> {
        check_name(name)
            .map_err(|error| Refusal::new(ControlError::NameInvalid, error.to_string()))?;
        let key = NameKey::of(name);
        let present = self
            .by_key
            .get(&key)
            .and_then(|id| self.place.get(id))
            .map(|&place| &self.members[place]);
        if let Some(member) = present
            && (owner.is_none() || member.owner != owner)
        {
            let text = if member.name == name {
                format!("the name {name} is taken by somebody who is here: choose another one")
            } else {
                format!(
                    "the name {name} could be mistaken for {}, who is here: choose another one",
                    member.name
                )
            };
            return Err(Refusal::new(ControlError::NameTaken, text));
        }
        if let Some(owner) = owner
            && names.claim(name, owner, moment.unix_ms / 1_000) == Claim::Foreign
        {
            let text = format!("the name {name} belongs to another key: choose another one");
            return Err(Refusal::new(ControlError::NameOwned, text));
        }
        Ok(present.map(|member| member.id))
    }

    /// Takes a user out of the chat; nothing happens when `id` is not in it.
    pub fn leave(&mut self, id: SlotId) {
        let Some(place) = self.place.remove(&id) else {
            return;
        };
        let member = self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place) {
            self.place.insert(moved.id, place);
        }
        self.by_key.remove(&member.key);
        self.presence.leave(&member.name);
        self.user_list = None;
    }

    /// Sends a message to everybody, its sender included.
    ///
    /// # Errors
    /// The sender is not in the chat, or the text breaks a rule.
    pub fn say(
        &mut self,
        id: SlotId,
        text: &str,
        moment: Moment,
        post: &mut impl Post,
    ) -> Result<(), Refusal> {
        let place = self.place_of(id)?;
        let text = check_text(text).map_err(refuse_text)?;
        if self.presence.is_unannounced(&self.members[place].name) {
            self.announce(moment, post);
        }
        self.counts.messages += 1;
        let message = Frame::Message(Message {
            sequence: self.history.sequence() + 1,
            time_ms: moment.unix_ms,
            from: &self.members[place].name,
            text: &text,
        });
        let frame = encode(&message, self.framing);
        self.broadcast(&frame, post);
        self.history.push(frame);
        Ok(())
    }

    /// Sends a message to one user, and back to its sender as confirmation.
    ///
    /// # Errors
    /// The sender is not in the chat, nobody is called `to`, or the text breaks a rule.
    pub fn whisper(
        &mut self,
        id: SlotId,
        to: &str,
        text: &str,
        moment: Moment,
        post: &mut impl Post,
    ) -> Result<(), Refusal> {
        let sender = self.place_of(id)?;
        let text = check_text(text).map_err(refuse_text)?;
        let recipient = self
            .by_key
            .get(&NameKey::of(to))
            .and_then(|id| self.place.get(id));
        let Some(recipient) = recipient.map(|&place| &self.members[place]) else {
            let shown: String = to.chars().take(64).collect();
            let text = format!("nobody called {shown} is in the chat: /users lists who is");
            return Err(Refusal::new(ControlError::NoSuchUser, text));
        };
        let whispered = Frame::Whispered(Whispered {
            time_ms: moment.unix_ms,
            from: &self.members[sender].name,
            to: &recipient.name,
            text: &text,
        });
        let frame = encode(&whispered, self.framing);
        post.deliver(recipient.id, &frame);
        self.counts.deliveries += 1;
        if recipient.id != id {
            post.deliver(id, &frame);
            self.counts.deliveries += 1;
        }
        self.counts.whispers += 1;
        Ok(())
    }

    /// Sends the list of users to `to`, who need not be in the chat.
    pub fn list_users(&mut self, to: SlotId, post: &mut impl Post) {
        let (members, framing) = (&self.members, self.framing);
        let frames = self.user_list.get_or_insert_with(|| {
            let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            names.sort_unstable_by_key(|name| (name.to_lowercase(), *name));
            let page = |(names, last): (&[&str], bool)| {
                encode(
                    &Frame::UserList {
                        last,
                        names: names.to_vec(),
                    },
                    framing,
                )
            };
            pages(&names).map(page).collect()
        });
        for frame in frames {
            post.deliver(to, frame);
        }
    }

    /// When [`announce_due`](Self::announce_due) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.presence.due()
    }

    /// Tells everybody who came and went, if it is time.
    pub fn announce_due(&mut self, moment: Moment, post: &mut impl Post) {
        if self.presence.due().is_some_and(|due| due <= moment.now) {
            self.announce(moment, post);
        }
    }

    fn announce(&mut self, moment: Moment, post: &mut impl Post) {
        let (joined, left) = self.presence.take(moment.now);
        let time_ms = moment.unix_ms;
        let (joined, left) = (as_strs(&joined), as_strs(&left));
        let frames = pages(&left)
            .filter(|(page, _)| !page.is_empty())
            .map(|(page, _)| Frame::Presence {
                time_ms,
                joined: Vec::new(),
                left: page.to_vec(),
            })
            .chain(
                pages(&joined)
                    .filter(|(page, _)| !page.is_empty())
                    .map(|(page, _)| Frame::Presence {
                        time_ms,
                        joined: page.to_vec(),
                        left: Vec::new(),
                    }),
            );
        for frame in frames {
            let frame = encode(&frame, self.framing);
            self.broadcast(&frame, post);
        }
    }

    fn broadcast(&mut self, frame: &Bytes, post: &mut impl Post) {
        for member in &self.members {
            post.deliver(member.id, frame);
        }
        self.counts.deliveries += self.members.len() as u64;
    }

    fn place_of(&self, id: SlotId) -> Result<usize, Refusal> {
        self.place.get(&id).copied().ok_or_else(|| {
            Refusal::new(
                ControlError::NotJoined,
                "only users in the chat may speak: join with a name first",
            )
        })
    }
}

/// Encodes a frame whose parts were judged before; one that does not fit becomes an empty delivery, never a panic.
#[must_use]
pub fn encode(frame: &Frame<'_>, framing: Framing) -> Bytes {
    let mut out = Vec::with_capacity(128);
    if let Err(error) = frame.encode(framing, &mut out) {
        tracing::error!(kind = frame.kind(), %error, "a frame of our own could not be sent");
    }
    Bytes::from(out)
}

fn as_strs(names: &std::collections::BTreeSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn refuse_text(error: TextError) -> Refusal {
    let code = match error {
        TextError::TooLong { .. } => ControlError::TextTooLong,
        TextError::Empty | TextError::Control(_) => ControlError::BadFrame,
    };
    Refusal::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
