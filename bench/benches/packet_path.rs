//! Parts of the packet path by themselves. `cargo bench -p columba-bench`; compare only what ran on the same machine, one
//! after the other. `bench/instructions.sh` counts instructions instead, which noise does not touch.

use columba_core::cell_set::{CellSet, ChunkPool};
use columba_core::congestion::delivery_rate::Snapshot;
use columba_core::protection::{Cipher, Secrets};
use columba_core::recovery::sent_packets::{Content, SentPackets};
use columba_core::timer_wheel::TimerWheel;
use columba_core::units::Timestamp;
use columba_core::wire::header::{DATA_HEADER_BYTES, Kind, ParsedHeader};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const PAYLOADS: [usize; 2] = [1440, 8928];

fn header() -> ParsedHeader {
    ParsedHeader {
        kind: Kind::Data,
        key_phase: false,
        stream: 7,
        association: 0xdead_beef,
        packet_number_low: 123_456,
        first_cell: 4_711,
    }
}

#[divan::bench]
fn parse_header(bencher: Bencher<'_, '_>) {
    let mut packet = [0; 64];
    header().write(&mut packet);
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| ParsedHeader::parse(black_box(&packet)));
}

fn secrets(plaintext: bool) -> Secrets {
    if plaintext {
        Secrets::Plaintext
    } else {
        Secrets::Aead {
            cipher: Cipher::Aegis128L,
            down: [1; 32],
            up: [2; 32],
        }
    }
}

fn seal(bencher: Bencher<'_, '_>, payload: usize, plaintext: bool) {
    let (mut sealer, _) = secrets(plaintext).for_server();
    let source = vec![0x5a; payload];
    let mut packet = vec![0; DATA_HEADER_BYTES + payload + sealer.tag_bytes()];
    header().write(&mut packet);
    let mut number = 0;
    bencher.counter(BytesCount::new(payload)).bench_local(|| {
        number += 1;
        sealer.seal_from(number, &mut packet, DATA_HEADER_BYTES, black_box(&source));
    });
}

#[divan::bench(args = PAYLOADS)]
fn seal_aead(bencher: Bencher<'_, '_>, payload: usize) {
    seal(bencher, payload, false);
}

#[divan::bench(args = PAYLOADS)]
fn seal_crc(bencher: Bencher<'_, '_>, payload: usize) {
    seal(bencher, payload, true);
}

fn open(bencher: Bencher<'_, '_>, payload: usize, plaintext: bool) {
    let (mut sealer, _) = secrets(plaintext).for_server();
    let (_, mut opener) = secrets(plaintext).for_client();
    let source = vec![0x5a; payload];
    let mut packet = vec![0; DATA_HEADER_BYTES + payload + sealer.tag_bytes()];
    header().write(&mut packet);
    sealer.seal_from(1, &mut packet, DATA_HEADER_BYTES, &source);
    let mut place = vec![0; payload];
    bencher.counter(BytesCount::new(payload)).bench_local(|| {
        opener.open_into(1, false, black_box(&packet), DATA_HEADER_BYTES, &mut place)
    });
}

#[divan::bench(args = PAYLOADS)]
fn open_aead(bencher: Bencher<'_, '_>, payload: usize) {
    open(bencher, payload, false);
}

#[divan::bench(args = PAYLOADS)]
fn open_crc(bencher: Bencher<'_, '_>, payload: usize) {
    open(bencher, payload, true);
}

/// A train's packets, five cells each, into the set of a large file.
#[divan::bench]
fn cell_set_insert_in_order(bencher: Bencher<'_, '_>) {
    const PACKETS: u32 = 44;
    const CELLS: u32 = 5;
    let mut pool = ChunkPool::default();
    let mut set = CellSet::new(u32::MAX - 1);
    let mut next = 0;
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        for _ in 0..PACKETS {
            black_box(set.insert_range(next..next + CELLS, &mut pool));
            next += CELLS;
        }
    });
}

/// Every other packet comes first, so that each chunk is touched twice.
#[divan::bench]
fn cell_set_insert_with_gaps(bencher: Bencher<'_, '_>) {
    const PACKETS: u32 = 44;
    const CELLS: u32 = 5;
    let mut pool = ChunkPool::default();
    let mut set = CellSet::new(u32::MAX - 1);
    let mut base = 0;
    bencher
        .counter(ItemsCount::new(2 * PACKETS))
        .bench_local(|| {
            for half in [CELLS, 0] {
                for packet in 0..PACKETS {
                    let first = base + packet * 2 * CELLS + half;
                    black_box(set.insert_range(first..first + CELLS, &mut pool));
                }
            }
            base += PACKETS * 2 * CELLS;
        });
}

/// A timer that moves with each packet, as an association's does.
#[divan::bench]
fn wheel_arm_again(bencher: Bencher<'_, '_>) {
    const TIMERS: u32 = 1024;
    let start = Timestamp::from_nanos(0);
    let mut wheel = TimerWheel::with_capacity(TIMERS, start);
    let mut now = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        now += 997;
        let id = u32::try_from(now % u64::from(TIMERS)).unwrap_or(0);
        wheel.arm(id, Timestamp::from_nanos(now + 40_000_000));
    });
}

/// A millisecond's timers out of many.
#[divan::bench]
fn wheel_arm_and_expire(bencher: Bencher<'_, '_>) {
    const TIMERS: u32 = 64;
    let mut wheel = TimerWheel::with_capacity(TIMERS, Timestamp::from_nanos(0));
    let mut now = 0;
    bencher.counter(ItemsCount::new(TIMERS)).bench_local(|| {
        for id in 0..TIMERS {
            let deadline = now + 1_000_000 + u64::from(id) * 10_000;
            wheel.arm(id, Timestamp::from_nanos(deadline));
        }
        now += 2_000_000;
        while let Some(id) = wheel.pop_expired(Timestamp::from_nanos(now)) {
            black_box(id);
        }
    });
}

/// What the sender does for each packet: remembers it, and finds it again by the acknowledgement's words.
#[divan::bench]
fn send_and_acknowledge(bencher: Bencher<'_, '_>) {
    const PACKETS: u32 = 64;
    let mut sent = SentPackets::default();
    let mut now = Timestamp::from_nanos(0);
    bencher.counter(ItemsCount::new(PACKETS)).bench_local(|| {
        let first = sent.next_number();
        if !sent.reserve(PACKETS.into()) {
            return;
        }
        for cell in 0..PACKETS {
            let content = Content::Cells {
                slot: 0,
                stream: 1,
                first: cell * 5,
                count: 5,
            };
            sent.push(now, Snapshot::default(), content, 1472);
        }
        let last = sent.next_number() - 1;
        for word in first / 64..=last / 64 {
            let mut bits = sent.new_bits(word, u64::MAX);
            while bits != 0 {
                let number = word * 64 + u64::from(bits.trailing_zeros());
                black_box(sent.acknowledge(number));
                bits &= bits - 1;
            }
        }
        now += std::time::Duration::from_micros(40);
    });
}
