//! What a DATA packet does: bounds first, then the bitmap, then it is opened straight to where its bytes go, if all of
//! them are new, else into scratch. A forged packet therefore never touches bytes received before.

use std::ops::Range;

use super::association::{ClientAssociation, ClientEvent};
use super::receive_stream::ReceiveStream;
use super::storage::Storage;
use crate::error::DropReason;
use crate::wire::ParsedHeader;

impl ClientAssociation {
    /// Opens a DATA packet and stores its new cells.
    pub(crate) fn on_data(
        &mut self,
        number: u64,
        header: ParsedHeader,
        packet: &[u8],
        storage: &mut impl Storage,
    ) -> Result<(), DropReason> {
        let Some(slot) = self.find_stream(header.stream) else {
            return self.authenticate_unknown(number, header, packet);
        };
        let header_bytes = header.len();
        let payload = packet
            .len()
            .checked_sub(header_bytes + self.opener.tag_bytes())
            .ok_or(DropReason::Unparsable)?;
        let stream = &mut self.streams[slot];
        let layout = *stream.layout();
        let first = header.first_cell;
        let count = layout
            .cells_in(first, payload)
            .ok_or(DropReason::Unparsable)?;
        let run = first..first + count;
        let offset = layout.cell_offset(first);
        // Without the padding behind a stream's end.
        let held = layout.run_bytes(first, count);
        let present = stream.cells.count_in(run.clone());
        let direct = present == 0 && offset + payload as u64 <= layout.file_bytes();
        let parity = header.key_phase;
        if direct {
            let room = storage.reserve(stream.id, offset, payload);
            if !self
                .opener
                .open_into(number, parity, packet, header_bytes, room)
            {
                return Err(DropReason::Unauthentic);
            }
            storage.commit(stream.id, offset, payload);
        } else {
            let scratch = self
                .scratch
                .get_mut(..payload)
                .ok_or(DropReason::Unparsable)?;
            if !self
                .opener
                .open_into(number, parity, packet, header_bytes, scratch)
            {
                return Err(DropReason::Unauthentic);
            }
            let mut at = run.start;
            while let Some(missing) = stream.cells.first_missing_run(at..run.end) {
                let from = usize::try_from(layout.cell_offset(missing.start) - offset).unwrap_or(0);
                let bytes = layout.run_bytes(missing.start, missing.end - missing.start);
                store(
                    stream,
                    offset + from as u64,
                    &scratch[from..from + bytes],
                    storage,
                );
                at = missing.end;
            }
        }
        self.note_cells(slot, run, present, held);
        Ok(())
    }

    /// Counts a packet and notes its cells, of which `present` were there before.
    fn note_cells(&mut self, slot: usize, run: Range<u32>, present: u32, payload: usize) {
        let stream = &mut self.streams[slot];
        let count = run.end - run.start;
        let new_bytes = if present == 0 {
            payload
        } else {
            (count - present) as usize * usize::from(stream.layout.cell_bytes())
        };
        stream.counters.packets += 1;
        stream.counters.bytes += new_bytes as u64;
        self.stats.new_bytes += new_bytes as u64;
        if present == count {
            stream.counters.duplicate_packets += 1;
            self.stats.duplicate_packets += 1;
            return;
        }
        let (id, events) = (stream.id, &mut self.events);
        stream.insert(run, &mut self.pool, |segment| {
            events.push_back(ClientEvent::SegmentComplete {
                stream: id,
                segment,
            });
        });
        if stream.is_complete() {
            self.events
                .push_back(ClientEvent::StreamComplete { stream: id });
        }
        self.acks.on_progress(id);
    }

    /// DATA of a stream that is finished or was never asked for: it still must be authentic to be acknowledged.
    fn authenticate_unknown(
        &mut self,
        number: u64,
        header: ParsedHeader,
        packet: &[u8],
    ) -> Result<(), DropReason> {
        let payload = packet
            .len()
            .checked_sub(header.len() + self.opener.tag_bytes())
            .ok_or(DropReason::Unparsable)?;
        let scratch = self
            .scratch
            .get_mut(..payload)
            .ok_or(DropReason::Unparsable)?;
        if !self
            .opener
            .open_into(number, header.key_phase, packet, header.len(), scratch)
        {
            return Err(DropReason::Unauthentic);
        }
        self.stats.duplicate_packets += 1;
        Ok(())
    }
}

/// Stores authentic bytes of cells that were missing; they may cross from the file into the trailer.
fn store(stream: &mut ReceiveStream, offset: u64, bytes: &[u8], storage: &mut impl Storage) {
    let file_bytes = stream.layout.file_bytes();
    let in_file = usize::try_from(file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (file, trailer) = bytes.split_at(in_file.min(bytes.len()));
    if !file.is_empty() {
        storage
            .reserve(stream.id, offset, file.len())
            .copy_from_slice(file);
        storage.commit(stream.id, offset, file.len());
    }
    if !trailer.is_empty() {
        let from = offset + file.len() as u64 - file_bytes;
        stream.store_trailer(from, trailer);
    }
}
