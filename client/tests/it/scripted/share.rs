//! What the scripted server reads its files from, with the faults that the script asks for.

use std::sync::{Arc, Mutex};

use columba_core::error::StreamEnd;
use columba_core::server::source::{Source, SourceBytes, SourceKey, TrainState};

use super::Script;

/// A file as it was when a stream of it started.
pub(super) struct OpenFile {
    pub(super) name: String,
    pub(super) data: Arc<Vec<u8>>,
    pub(super) values: Vec<u8>,
}

pub(super) struct Share {
    pub(super) script: Arc<Mutex<Script>>,
    pub(super) open: Vec<OpenFile>,
    pub(super) scratch: Vec<u8>,
    pub(super) cut: bool,
}

impl Source for Share {
    fn begin_train(&mut self, source: SourceKey) -> TrainState {
        let open = &self.open[source.0 as usize];
        let script = self.script.lock().unwrap();
        if script.files.get(&open.name) != Some(&open.data) {
            return TrainState::End(StreamEnd::FileChanged);
        }
        TrainState::Ready {
            hashes: (open.values.len() / 32) as u32,
        }
    }

    fn file(&mut self, source: SourceKey, offset: u64, len: usize) -> SourceBytes<'_> {
        let open = &self.open[source.0 as usize];
        let mut script = self.script.lock().unwrap();
        let end = offset + len as u64;
        if script
            .stall_at
            .is_some_and(|at| (offset..end).contains(&at))
        {
            return SourceBytes::Pending;
        }
        if script.cut_at.is_some_and(|at| (offset..end).contains(&at)) {
            script.cut_at = None;
            self.cut = true;
        }
        let change = script
            .change
            .iter()
            .position(|(name, at, _)| *name == open.name && (offset..end).contains(at));
        if let Some(change) = change {
            let (name, _, content) = script.change.remove(change);
            script.files.insert(name, content);
            return SourceBytes::End(StreamEnd::FileChanged);
        }
        script.read_bytes += len as u64;
        let data = &open.data[offset as usize..end as usize];
        self.scratch.clear();
        self.scratch.extend_from_slice(data);
        for ((name, at), times) in &mut script.corrupt {
            if *name == open.name && (offset..end).contains(at) && *times > 0 {
                *times -= 1;
                self.scratch[(*at - offset) as usize] ^= 1;
            }
        }
        SourceBytes::Ready(&self.scratch)
    }

    fn copy_hashes(&mut self, source: SourceKey, offset: u64, out: &mut [u8]) {
        let values = &self.open[source.0 as usize].values;
        out.copy_from_slice(&values[offset as usize..offset as usize + out.len()]);
    }
}
