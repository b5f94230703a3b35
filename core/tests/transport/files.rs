//! Files in memory: where servers read and clients write.

use std::collections::HashMap;
use std::ops::Range;

use columba_core::client::Storage;
use columba_core::error::StreamEnd;
use columba_core::limits::SEGMENT_BYTES;
use columba_core::server::{Source, SourceBytes, SourceKey, TrainState};

/// The BLAKE3 values of a file as they stand in its stream's trailer.
pub(crate) fn trailer_of(file: &[u8]) -> Vec<u8> {
    use blake3::hazmat::HasherExt;
    let segments: Vec<&[u8]> = file.chunks(SEGMENT_BYTES as usize).collect();
    if segments.len() <= 1 {
        return blake3::hash(file).as_bytes().to_vec();
    }
    let mut trailer = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(index as u64 * SEGMENT_BYTES);
        hasher.update(segment);
        trailer.extend_from_slice(&hasher.finalize_non_root());
    }
    trailer
}

/// Pseudo-random bytes from a seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new()
        .update(&seed.to_be_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// Files in memory.
#[derive(Default)]
pub(crate) struct Files {
    files: HashMap<SourceKey, (Vec<u8>, Vec<u8>)>,
    /// Segment values known so far; all when absent.
    pub(crate) hashes: HashMap<SourceKey, u32>,
    /// Files that end with this when a train begins.
    pub(crate) ends: HashMap<SourceKey, StreamEnd>,
    /// Files whose bytes are not in memory now.
    pub(crate) cold: HashMap<SourceKey, bool>,
}

impl Files {
    pub(crate) fn add(&mut self, key: u64, file: Vec<u8>) {
        let trailer = trailer_of(&file);
        self.files.insert(SourceKey(key), (file, trailer));
    }

    pub(crate) fn bytes(&self, key: u64) -> &[u8] {
        &self.files[&SourceKey(key)].0
    }

    pub(crate) fn trailer(&self, key: u64) -> &[u8] {
        &self.files[&SourceKey(key)].1
    }
}

impl Source for Files {
    fn begin_train(&mut self, source: SourceKey) -> TrainState {
        if let Some(end) = self.ends.get(&source) {
            return TrainState::End(*end);
        }
        if self.cold.get(&source) == Some(&true) {
            return TrainState::Pending;
        }
        TrainState::Ready {
            hashes: self.hashes.get(&source).copied().unwrap_or(u32::MAX),
        }
    }

    fn file(&mut self, source: SourceKey, offset: u64, len: usize) -> SourceBytes<'_> {
        let offset = usize::try_from(offset).expect("in memory");
        SourceBytes::Ready(&self.files[&source].0[offset..offset + len])
    }

    fn copy_hashes(&mut self, source: SourceKey, offset: u64, out: &mut [u8]) {
        let offset = usize::try_from(offset).expect("in memory");
        out.copy_from_slice(&self.files[&source].1[offset..offset + out.len()]);
    }
}

/// Downloads in memory; asserts that no byte is written twice.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) files: HashMap<u32, (Vec<u8>, Vec<bool>)>,
    room: Vec<u8>,
}

impl Disk {
    pub(crate) fn add(&mut self, stream: u32, bytes: usize) {
        self.files
            .insert(stream, (vec![0; bytes], vec![false; bytes]));
    }

    /// These bytes are fetched again.
    pub(crate) fn forget(&mut self, stream: u32, range: Range<u64>) {
        let written = &mut self.files.get_mut(&stream).expect("a stream").1;
        let end = written.len().min(range.end as usize);
        written[range.start as usize..end].fill(false);
    }
}

impl Storage for Disk {
    fn reserve(&mut self, _stream: u32, _offset: u64, bytes: usize) -> &mut [u8] {
        self.room.clear();
        self.room.resize(bytes, 0xee);
        &mut self.room
    }

    fn commit(&mut self, stream: u32, offset: u64, bytes: usize) {
        let (file, written) = self
            .files
            .get_mut(&stream)
            .expect("a stream that was started");
        let offset = usize::try_from(offset).expect("in memory");
        file[offset..offset + bytes].copy_from_slice(&self.room[..bytes]);
        for flag in &mut written[offset..offset + bytes] {
            assert!(!*flag, "a byte delivered twice");
            *flag = true;
        }
    }
}
