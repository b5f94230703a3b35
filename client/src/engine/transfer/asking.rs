//! Asking for files by name, and what the server offers for the names.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use columba_core::control::ControlError;
use columba_core::control::limits::MAX_GET_NAMES;
use columba_core::units::Timestamp;

use super::download::{Download, Stage};
use super::requests::Request;
use super::{Offered, Transfers};
use crate::engine::message::GetEvent;
use crate::exit_code::ClientError;
use crate::storage::{FileKey, MAX_FILE_BYTES};

/// Where so few names are asked for, each has a Get of its own, and so its own answer.
const NAMES_ONE_BY_ONE: usize = 32;
/// Names in one Get otherwise, and their bytes.
const NAMES_PER_GET: usize = 1024;
const NAME_BYTES_PER_GET: usize = 32 << 10;
/// Gets that wait for their answer; servers refuse more than twice as many.
const MAX_UNANSWERED: usize = 32;
/// No request has this number.
const NOBODY: u32 = 0;
/// When a Get is repeated that the server was too busy for.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

const _: () = assert!(NAMES_PER_GET <= MAX_GET_NAMES);

/// A Get to send: its number and names.
pub(in crate::engine) type Asked = (u32, Vec<String>);

/// The Gets of this connection.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// To send, each with the request it belongs to.
    unsent: VecDeque<(u32, Vec<String>)>,
    /// Sent, by number.
    unanswered: BTreeMap<u32, (u32, Vec<String>)>,
    last_number: u32,
    not_before: Timestamp,
}

impl Asking {
    /// Asks for `names`; returns in how many Gets.
    pub(super) fn add(&mut self, request: u32, names: &[&str]) -> usize {
        let limit = if names.len() <= NAMES_ONE_BY_ONE {
            1
        } else {
            NAMES_PER_GET
        };
        let before = self.unsent.len();
        let mut get: Vec<String> = Vec::new();
        let mut bytes = 0;
        for name in names {
            if get.len() == limit || bytes + name.len() > NAME_BYTES_PER_GET && bytes > 0 {
                self.unsent.push_back((request, std::mem::take(&mut get)));
                bytes = 0;
            }
            bytes += name.len() + 2;
            get.push((*name).to_owned());
        }
        if !get.is_empty() {
            self.unsent.push_back((request, get));
        }
        self.unsent.len() - before
    }

    /// The next Get that may be sent.
    fn next(&mut self, now: Timestamp) -> Option<Asked> {
        if self.unanswered.len() >= MAX_UNANSWERED || now < self.not_before {
            return None;
        }
        let (request, names) = self.unsent.pop_front()?;
        self.last_number = self.last_number.wrapping_add(1).max(1);
        let asked = (self.last_number, names.clone());
        self.unanswered.insert(self.last_number, (request, names));
        Some(asked)
    }

    /// When something may be sent that may not be sent now.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        (!self.unsent.is_empty()).then_some(self.not_before)
    }

    /// The request a Get belongs to.
    fn request_of(&self, get: u32) -> Option<u32> {
        self.unanswered.get(&get).map(|(request, _)| *request)
    }

    /// The name a Get asks for, if it is just one.
    fn only_name(&self, get: u32) -> Option<&str> {
        match &self.unanswered.get(&get)?.1[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn answered(&mut self, get: u32) {
        self.unanswered.remove(&get);
    }

    fn ask_later(&mut self, now: Timestamp, get: u32) {
        let again = self.unanswered.remove(&get);
        if let Some(again) = again.filter(|(request, _)| *request != NOBODY) {
            self.unsent.push_front(again);
            self.not_before = now + AGAIN_AFTER;
        }
    }

    /// Asks for this request no more; late answers are nobody's.
    pub(super) fn forget(&mut self, request: u32) {
        self.unsent.retain(|(of, _)| *of != request);
        for (of, _) in self.unanswered.values_mut() {
            if *of == request {
                *of = NOBODY;
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.unsent.clear();
        self.unanswered.clear();
    }
}

impl Transfers {
    /// A new connection begins: what was asked on the old one has no answer, so all is asked anew.
    pub(in crate::engine) fn on_connecting(&mut self) {
        self.epoch += 1;
        self.open_sent = false;
        self.asking.clear();
        let mut ids: Vec<u32> = self.requests.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let request = self.requests.get_mut(&id);
            if let Some(request) = request.filter(|request| !request.cancelled) {
                request.unanswered = self.asking.add(id, &request.names());
            }
        }
    }

    /// The Gets to send now.
    pub(in crate::engine) fn asks(&mut self, now: Timestamp) -> Vec<Asked> {
        std::iter::from_fn(|| self.asking.next(now)).collect()
    }

    /// Asks for one name of a request again.
    pub(super) fn ask_again(&mut self, id: u32, name: &str) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.unanswered += self.asking.add(id, &[name]);
        }
    }

    /// A page of offers.
    pub(in crate::engine) fn on_offer(
        &mut self,
        now: Timestamp,
        get: u32,
        last: bool,
        files: Vec<Offered>,
    ) {
        let Some(id) = self.asking.request_of(get) else {
            return;
        };
        self.active_at = now;
        for offered in files {
            self.offer_one(id, offered);
        }
        if last {
            self.answered(get, id);
        }
    }

    fn answered(&mut self, get: u32, id: u32) {
        self.asking.answered(get);
        if let Some(request) = self.requests.get_mut(&id) {
            request.unanswered = request.unanswered.saturating_sub(1);
        }
        self.end_if_over(id);
    }

    fn offer_one(&mut self, id: u32, offered: Offered) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        if let Some(key) = request.offered.get(&offered.name).copied() {
            self.offered_again(key, &offered);
            return;
        }
        let key = FileKey(self.next_key);
        self.next_key += 1;
        request.offered.insert(offered.name.clone(), key);
        request.unfinished += 1;
        request.total_bytes += offered.size;
        let local = request.local_path(&offered.name);
        let too_large = offered.size > MAX_FILE_BYTES;
        let mut download = Download::new(
            id,
            offered.name,
            offered.file,
            std::path::PathBuf::new(),
            if too_large { 0 } else { offered.size },
            offered.version,
        );
        let refused = match local {
            Ok(_) if too_large => Some(ClientError::Server(format!(
                "the file is too large: {} bytes, at most {MAX_FILE_BYTES} can be fetched",
                offered.size
            ))),
            Ok(local) => {
                download.relative = local;
                None
            }
            Err(error) => Some(error.into()),
        };
        self.downloads.insert(key, download);
        match refused {
            Some(error) => self.fail(key, error),
            None => self.enqueue(key),
        }
    }

    /// The same name once more: after a reconnect, or because the file changed.
    fn offered_again(&mut self, key: FileKey, offered: &Offered) {
        let Some(download) = self.downloads.get_mut(&key) else {
            return;
        };
        let same = download.version == offered.version && download.size_bytes == offered.size;
        download.file = offered.file;
        match download.stage {
            Stage::AskedAgain => {
                download.reset(
                    offered.file,
                    offered.size.min(MAX_FILE_BYTES),
                    offered.version,
                );
                self.enqueue(key);
            }
            Stage::Waiting | Stage::Paused if download.part.is_none() => {
                download.size_bytes = offered.size.min(MAX_FILE_BYTES);
                download.version = offered.version;
            }
            Stage::Ready | Stage::Waiting | Stage::Pausing | Stage::Paused if !same => {
                self.start_over(key);
            }
            Stage::Ready
            | Stage::Waiting
            | Stage::Pausing
            | Stage::Paused
            | Stage::Preparing
            | Stage::Running
            | Stage::Finishing
            | Stage::Failed
            | Stage::StartingOver => {}
        }
    }

    /// The server refused a Get, or one name of it; `false` when it is none of ours.
    pub(in crate::engine) fn on_refused(
        &mut self,
        now: Timestamp,
        get: u32,
        code: ControlError,
        text: &str,
    ) -> bool {
        let Some(id) = self.asking.request_of(get) else {
            return false;
        };
        if code == ControlError::TooFast {
            self.asking.ask_later(now, get);
            return true;
        }
        let error = ClientError::from_server(code, text);
        let file = self.asking.only_name(get).unwrap_or_default().to_owned();
        // The name may be one that was there and has changed.
        let known = self
            .requests
            .get(&id)
            .and_then(|request| request.offered.get(&file))
            .copied();
        match known {
            Some(key) => self.fail(key, error),
            None if self.is_told(id) => self.tell(id, GetEvent::Failed { file, error }),
            None => {}
        }
        // What concerns names is followed by the offers of the others, the last of which says so.
        let of_names = [
            ControlError::NoSuchFile,
            ControlError::Unreadable,
            ControlError::TooManyTransfers,
        ];
        if !of_names.contains(&code) {
            self.answered(get, id);
        }
        true
    }

    pub(super) fn end_if_over(&mut self, id: u32) {
        if self.requests.get(&id).is_some_and(Request::is_over) {
            self.requests.remove(&id);
            self.tell(id, GetEvent::Finished);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_have_their_own_answers_and_many_share_them() {
        let mut asking = Asking::default();
        assert_eq!(asking.add(1, &["a", "b"]), 2);
        let names: Vec<String> = (0..3000).map(|number| number.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(asking.add(2, &names), 3);
        let asked: Vec<Asked> = std::iter::from_fn(|| asking.next(Timestamp::ZERO)).collect();
        let sizes: Vec<usize> = asked.iter().map(|(_, names)| names.len()).collect();
        assert_eq!(sizes, [1, 1, 1024, 1024, 952]);
        assert_eq!(asking.only_name(asked[1].0), Some("b"));
        assert_eq!(asking.only_name(asked[2].0), None);
        assert_eq!(asking.request_of(asked[2].0), Some(2));
    }

    #[test]
    fn no_more_wait_than_servers_take_and_refused_ones_come_again() {
        let mut asking = Asking::default();
        for number in 0..100u32 {
            asking.add(number, &["x"]);
        }
        let now = Timestamp::ZERO;
        let asked: Vec<Asked> = std::iter::from_fn(|| asking.next(now)).collect();
        assert_eq!(asked.len(), MAX_UNANSWERED);
        asking.answered(asked[0].0);
        asking.ask_later(now, asked[1].0);
        assert_eq!(asking.next(now), None);
        let later = asking.deadline().unwrap();
        let (number, _) = asking.next(later).unwrap();
        assert_eq!(asking.request_of(number), Some(1));
    }
}
