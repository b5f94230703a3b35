use super::super::memory::MemoryPart;
use super::*;
use std::ops::Range;

const CELL: usize = 288;
const KEY: FileKey = FileKey(1);

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 % 251) as u8).collect()
}

fn one_file(buffers: usize, size: usize, have: &[(u32, ChainingValue)]) -> Assemblies {
    let mut set = Assemblies::new(buffers);
    let part = Arc::new(MemoryPart::keeping(size as u64));
    set.add(KEY, part, size as u64, have);
    set.attach(1, KEY, None);
    set
}

fn deliver(set: &mut Assemblies, data: &[u8], run: Range<usize>) {
    let place = set.reserve(1, run.start as u64, run.len());
    place.copy_from_slice(&data[run.clone()]);
    set.commit(1, run.start as u64, run.len());
}

/// Runs of `cells` cells, in an order shuffled by a small generator.
fn runs(len: usize, cells: usize, seed: u64) -> Vec<Range<usize>> {
    let step = cells * CELL;
    let mut runs: Vec<_> = (0..len)
        .step_by(step)
        .map(|start| start..(start + step).min(len))
        .collect();
    let mut state = seed;
    for i in (1..runs.len()).rev() {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        runs.swap(i, (state >> 33) as usize % (i + 1));
    }
    runs
}

/// Moves complete segments into `data`; returns their indices.
fn collect(set: &mut Assemblies, data: &mut [u8]) -> Vec<u32> {
    let mut indices = Vec::new();
    while let Some(gathered) = set.next_gathered() {
        match gathered {
            Gathered::Segment {
                index, buffer, len, ..
            } => {
                let start = segment_start(index) as usize;
                data[start..start + len as usize].copy_from_slice(&buffer[..len as usize]);
                set.recycle(buffer);
                indices.push(index);
            }
            Gathered::Failed { error, .. } => panic!("{error}"),
        }
    }
    indices.sort_unstable();
    indices
}

#[test]
fn any_size_in_any_order_comes_out_whole() {
    let mib = 1 << 20;
    for size in [65_537, mib - 1, mib, mib + 1, 3 * mib + 77] {
        for cells in [1, 5, 227] {
            let data = content(size);
            let mut set = one_file(8, size, &[]);
            for run in runs(size, cells, size as u64) {
                deliver(&mut set, &data, run);
            }
            let mut got = vec![0xee; size];
            collect(&mut set, &mut got);
            assert!(got == data, "size {size}, {cells} cells a run");
        }
    }
}

#[test]
fn a_small_file_is_taken_whole() {
    for size in [0, 1, 4096, 65_536] {
        let data = content(size);
        let mut set = one_file(2, size, &[]);
        for run in runs(size, 5, 3) {
            deliver(&mut set, &data, run);
        }
        assert!(set.next_gathered().is_none());
        assert_eq!(set.take_small(KEY), Some(data));
        assert_eq!(set.take_small(KEY), None);
    }
}

#[test]
fn with_two_buffers_segments_are_parked_and_read_back() {
    let size = 6 << 20;
    let data = content(size);
    let mut set = one_file(2, size, &[]);
    let mut got = vec![0; size];
    for run in runs(size, 200, 5) {
        deliver(&mut set, &data, run);
        collect(&mut set, &mut got);
    }
    assert!(got == data);
}

#[test]
fn buffers_held_by_the_hashers_cost_credit_but_no_bytes() {
    let mib = 1 << 20;
    let data = content(4 * mib);
    let mut set = one_file(2, 4 * mib, &[]);
    for index in 0..3 {
        deliver(&mut set, &data, index * mib..(index + 1) * mib);
        assert_eq!(set.credit_bytes(), [1 << 20, 0, 0][index]);
    }
    let mut got = vec![0; 4 * mib];
    assert_eq!(collect(&mut set, &mut got), [0, 1, 2]);
    assert!(got[..3 * mib] == data[..3 * mib]);
    assert_eq!(set.credit_bytes(), 2 << 20);
}

#[test]
fn segments_that_are_there_are_not_written_again() {
    let size = 3 << 20;
    let data = content(size);
    let mut set = one_file(4, size, &[(1, [0; 32])]);
    for run in runs(size, 5, 9) {
        deliver(&mut set, &data, run);
    }
    assert_eq!(collect(&mut set, &mut vec![0; size]), [0, 2]);
}

#[test]
fn bytes_of_unknown_streams_and_beyond_the_end_go_nowhere() {
    let mut set = one_file(2, 100, &[]);
    assert_eq!(set.reserve(2, 0, 10).len(), 10);
    set.commit(2, 0, 10);
    assert_eq!(set.unplaced(), 1);
    for offset in [90, 1 << 50, u64::MAX - 3] {
        assert_eq!(set.reserve(1, offset, 20).len(), 20);
        set.commit(1, offset, 20);
    }
    set.detach(1);
    set.reserve(1, 0, 100);
    set.commit(1, 0, 100);
    assert_eq!(set.unplaced(), 2);
}

#[test]
fn a_bad_segment_is_received_again() {
    let size = 2 << 20;
    let data = content(size);
    let mut set = one_file(4, size, &[]);
    for run in runs(size, 50, 1) {
        deliver(&mut set, &data, run);
    }
    let mut got = vec![0; size];
    collect(&mut set, &mut got);
    got.fill(0);
    set.reopen(KEY, &[1]);
    set.attach(1, KEY, Some(&[1]));
    for run in runs(size, 50, 2) {
        deliver(&mut set, &data, run);
    }
    assert_eq!(collect(&mut set, &mut got), [1]);
    assert!(got[1 << 20..] == data[1 << 20..]);
}

#[test]
fn a_stream_for_one_segment_leaves_its_neighbours_to_theirs() {
    let size = 3 << 20;
    let data = content(size);
    let mut set = one_file(4, size, &[(1, [0; 32])]);
    set.reopen(KEY, &[1]);
    set.attach(1, KEY, Some(&[1]));
    // Whole cells around the middle segment.
    let run = (1 << 20) / CELL * CELL..((2 << 20) + CELL) / CELL * CELL;
    for start in run.step_by(CELL) {
        deliver(&mut set, &data, start..start + CELL);
    }
    let mut got = vec![0; size];
    assert_eq!(collect(&mut set, &mut got), [1]);
    set.attach(2, KEY, None);
    for segment in [0, 2] {
        let place = set.reserve(2, segment << 20, 1 << 20);
        place.copy_from_slice(&data[(segment as usize) << 20..][..1 << 20]);
        set.commit(2, segment << 20, 1 << 20);
    }
    assert_eq!(collect(&mut set, &mut got), [0, 2]);
    assert!(got == data);
}

#[test]
fn a_disk_that_fails_under_memory_pressure_is_told() {
    let size = 6 << 20;
    let mut set = Assemblies::new(2);
    let full = std::io::ErrorKind::StorageFull;
    set.add(KEY, Arc::new(MemoryPart::failing_after(0, full)), size, &[]);
    set.attach(1, KEY, None);
    for index in 0..3 {
        let start = index << 20;
        set.reserve(1, start, 288).fill(1);
        set.commit(1, start, 288);
    }
    let told = set.next_gathered();
    assert!(matches!(told, Some(Gathered::Failed { .. })), "{told:?}");
}
