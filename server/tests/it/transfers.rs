//! Downloads over real sockets: any size, many at once, files that change, clients that vanish.

use columba_core::control::{ControlError, Frame, Open, Policy, SegmentRange};
use columba_core::error::StreamEnd;
use columba_core::protection::Cipher;
use columba_server::config::CipherChoice;

use crate::download::{Downloader, End};
use crate::support::{MODES, Mode, Rig};

/// Bytes that are nowhere alike.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn share(rig: &Rig, name: &str, size: usize, seed: u64) -> Vec<u8> {
    let bytes = content(size, seed);
    std::fs::write(rig.share().join(name), &bytes).expect("writable");
    bytes
}

#[test]
fn files_of_any_size_arrive_verified() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut client = Downloader::new(&rig);
        assert_eq!(client.cell_bytes(), 288);
        for (seed, size) in [
            0, 1, 287, 288, 289, 4_096, 65_536, 65_537, 1_048_575, 1_048_576, 1_048_577, 5_000_000,
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("file-{size}");
            let bytes = share(&rig, &name, size, seed as u64);
            assert_eq!(client.fetch(&name), bytes, "{size}");
        }
        client.close();
        let control = &mut client.control;
        assert_eq!(control.counter(&["transfers", "completed"]), 12);
        assert_eq!(
            control.counter(&["transfers", "files"]),
            0,
            "every file is released"
        );
        assert_eq!(control.counter(&["transfers", "streams"]), 0);
    }
}

#[test]
fn a_server_may_insist_on_aes_gcm() {
    let rig = Rig::with(Mode::Tls, |config| config.cipher = CipherChoice::Aes128Gcm);
    assert_eq!(rig.cipher, Cipher::Aes128Gcm);
    let bytes = share(&rig, "f", 3_000_000, 7);
    assert_eq!(Downloader::new(&rig).fetch("f"), bytes);
}

#[test]
fn it_works_over_ipv6_with_smaller_cells() {
    let rig = Rig::with(Mode::Tls, |config| {
        config.listen = "[::1]:0".parse().expect("an address");
    });
    let bytes = share(&rig, "f", 3_000_000, 6);
    let mut client = Downloader::new(&rig);
    assert_eq!(client.cell_bytes(), 284);
    assert_eq!(client.fetch("f"), bytes);
}

#[test]
fn thousands_of_small_files_come_in_one_get() {
    let rig = Rig::new(Mode::Tls);
    std::fs::create_dir(rig.share().join("many")).expect("writable");
    let all: Vec<Vec<u8>> = (0..3_000)
        .map(|index| share(&rig, &format!("many/{index:05}"), index * 3, index as u64))
        .collect();
    let mut client = Downloader::new(&rig);
    let (offered, refused) = client.get(&["many"]);
    assert_eq!((offered.len(), refused), (3_000, 0));
    let streams = client.start(&offered, &[]);
    for (stream, bytes) in streams.into_iter().zip(all) {
        assert_eq!(client.wait(stream), End::Verified(bytes));
    }
}

#[test]
fn large_files_beyond_what_may_be_open_wait_their_turn() {
    let rig = Rig::new(Mode::Plaintext);
    let all: Vec<Vec<u8>> = (0..80)
        .map(|index| share(&rig, &format!("{index:03}"), 100_000 + index, index as u64))
        .collect();
    let mut client = Downloader::new(&rig);
    let (offered, _) = client.get(&["."]);
    let streams = client.start(&offered, &[]);
    for (stream, bytes) in streams.into_iter().zip(all) {
        assert_eq!(client.wait(stream), End::Verified(bytes));
    }
}

#[test]
fn several_clients_share_one_file() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 4_000_000, 9);
    let mut clients: Vec<Downloader> = (0..4).map(|_| Downloader::new(&rig)).collect();
    let streams: Vec<u32> = clients
        .iter_mut()
        .map(|client| {
            let (offered, _) = client.get(&["f"]);
            client.start(&offered, &[])[0]
        })
        .collect();
    for (client, stream) in clients.iter_mut().zip(streams) {
        assert_eq!(client.wait(stream), End::Verified(bytes.clone()));
    }
}

#[test]
fn only_missing_segments_are_sent() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 6 << 20, 3);
    let mut client = Downloader::new(&rig);
    let (offered, _) = client.get(&["f"]);
    let missing = [
        SegmentRange { first: 1, count: 1 },
        SegmentRange { first: 4, count: 2 },
    ];
    let streams = client.start(&offered, &missing);
    let End::Verified(content) = client.wait(streams[0]) else {
        panic!("it should arrive");
    };
    let segment = |index: usize| index << 20..(index + 1) << 20;
    for index in [1, 4, 5] {
        assert!(content[segment(index)] == bytes[segment(index)]);
    }
    for index in [0, 2, 3] {
        // A cell may reach over the border.
        let inside = &content[segment(index)][288..(1 << 20) - 288];
        assert!(
            inside.iter().all(|&byte| byte == 0),
            "{index} was not asked for"
        );
    }
}

#[test]
fn a_file_that_changes_ends_its_own_stream_only() {
    for truncate in [true, false] {
        let rig = Rig::new(Mode::Tls);
        share(&rig, "changing", 30 << 20, 1);
        let steady = share(&rig, "steady", 3 << 20, 2);
        let mut client = Downloader::with(
            &rig,
            Open {
                max_datagram: 1_200,
                policy: Policy::Fair,
                rate_limit: 20_000_000,
            },
        );
        let (offered, _) = client.get(&["changing", "steady"]);
        let streams = client.start(&offered, &[]);
        client.run_until(|association| association.stats().new_bytes > 500_000);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(rig.share().join("changing"))
            .expect("writable");
        if truncate {
            file.set_len(1_000).expect("writable");
        } else {
            std::io::Write::write_all(&mut &file, b"other bytes").expect("writable");
        }
        assert_eq!(client.wait(streams[0]), End::Reset(StreamEnd::FileChanged));
        assert_eq!(
            client.expect_ended(),
            (streams[0], ControlError::FileChanged)
        );
        assert_eq!(client.wait(streams[1]), End::Verified(steady));
    }
}

#[test]
fn an_unlinked_or_renamed_file_arrives_all_the_same() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 8 << 20, 1);
    let mut client = Downloader::with(
        &rig,
        Open {
            max_datagram: 0,
            policy: Policy::Low,
            rate_limit: 40_000_000,
        },
    );
    let (offered, _) = client.get(&["f"]);
    let streams = client.start(&offered, &[]);
    client.run_until(|association| association.stats().new_bytes > 100_000);
    std::fs::rename(rig.share().join("f"), rig.share().join("g")).expect("writable");
    std::fs::remove_file(rig.share().join("g")).expect("writable");
    assert_eq!(client.wait(streams[0]), End::Verified(bytes));
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_is_said_clearly() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let rig = Rig::new(Mode::Tls);
    share(&rig, "good", 10, 1);
    symlink("/etc/passwd", rig.share().join("link")).expect("writable");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        rig.share().join("fifo"),
        rustix::fs::Mode::RUSR,
    )
    .expect("writable");
    share(&rig, "secret", 10, 1);
    std::fs::set_permissions(
        rig.share().join("secret"),
        std::fs::Permissions::from_mode(0o000),
    )
    .expect("ours");
    let mut client = Downloader::new(&rig);
    let (offered, refused) = client.get(&[
        "good",
        "link",
        "fifo",
        "secret",
        "/etc/passwd",
        "../x",
        "a\0b",
    ]);
    let readable = std::fs::read(rig.share().join("secret")).is_ok();
    assert_eq!(
        offered.len(),
        if readable { 2 } else { 1 },
        "root reads everything"
    );
    assert_eq!(offered.len() + refused, 7);
}

#[test]
fn strange_names_get_the_right_bytes() {
    let rig = Rig::new(Mode::Tls);
    let names: &[&str] = if cfg!(unix) {
        &[
            "with space",
            "ünï",
            "new\nline",
            "back\\slash",
            "esc\u{1b}[2J",
        ]
    } else {
        &["ünï"]
    };
    for (seed, name) in names.iter().enumerate() {
        share(&rig, name, 1_000, seed as u64);
    }
    let mut client = Downloader::new(&rig);
    for (seed, name) in names.iter().enumerate() {
        assert_eq!(client.fetch(name), content(1_000, seed as u64), "{name:?}");
    }
}

#[test]
fn a_transfer_outlives_its_control_connection() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 6 << 20, 1);
    let mut client = Downloader::with(
        &rig,
        Open {
            max_datagram: 0,
            policy: Policy::Fair,
            rate_limit: 40_000_000,
        },
    );
    let (offered, _) = client.get(&["f"]);
    let streams = client.start(&offered, &[]);
    client.run_until(|association| association.stats().new_bytes > 100_000);
    client.control.send(&Frame::Leave);
    assert_eq!(client.control.find(|_| None::<()>), None);
    assert_eq!(client.wait(streams[0]), End::Verified(bytes));
}

#[test]
fn cancelled_streams_end_and_impossible_ones_are_refused() {
    let rig = Rig::new(Mode::Tls);
    share(&rig, "f", 40 << 20, 1);
    let mut client = Downloader::with(
        &rig,
        Open {
            max_datagram: 1_200,
            policy: Policy::Fair,
            rate_limit: 5_000_000,
        },
    );
    let (offered, _) = client.get(&["f"]);
    let streams = client.start(&offered, &[]);
    client.run_until(|association| association.stats().new_bytes > 10_000);
    client.control.send(&Frame::Cancel {
        streams: streams.clone(),
    });
    assert_eq!(client.wait(streams[0]), End::Reset(StreamEnd::Cancelled));
    let start = |file, stream, first| {
        let missing = vec![SegmentRange { first, count: 1 }];
        Frame::Start {
            entries: vec![columba_core::control::StartEntry {
                stream,
                file,
                missing,
            }],
        }
    };
    for (frame, expected) in [
        (start(99, 50, 0), ControlError::NoSuchFile),
        (start(offered[0].file, 51, 40), ControlError::BadFrame),
        (start(offered[0].file, 0, 0), ControlError::BadFrame),
    ] {
        client.control.send(&frame);
        assert_eq!(client.expect_ended().1, expected);
    }
    let mut tool = rig.headless();
    tool.send(&start(1, 1, 0));
    let code = tool.expect(|frame| {
        if let Frame::Ended { code, .. } = frame {
            Some(*code)
        } else {
            None
        }
    });
    assert_eq!(code, ControlError::Idle);
}

#[test]
fn transfers_are_bounded_and_tiny_datagrams_refused() {
    let rig = Rig::with(Mode::Tls, |config| config.max_transfers = 1);
    let _first = Downloader::new(&rig);
    let mut tool = rig.headless();
    tool.send(&Frame::Open(Open {
        max_datagram: 0,
        policy: Policy::Fair,
        rate_limit: 0,
    }));
    assert_eq!(tool.expect_error().0, ControlError::TooManyTransfers);
    let rig = Rig::new(Mode::Tls);
    let mut tool = rig.headless();
    tool.send(&Frame::Open(Open {
        max_datagram: 100,
        policy: Policy::Fair,
        rate_limit: 0,
    }));
    assert_eq!(tool.expect_error().0, ControlError::Address);
}

#[test]
fn stopping_lets_a_short_transfer_finish() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 4 << 20, 1);
    let mut client = Downloader::with(
        &rig,
        Open {
            max_datagram: 0,
            policy: Policy::Fair,
            rate_limit: 8_000_000,
        },
    );
    let (offered, _) = client.get(&["f"]);
    let streams = client.start(&offered, &[]);
    client.run_until(|association| association.stats().new_bytes > 10_000);
    let server = rig.server;
    let stopping = std::thread::spawn(move || server.stop());
    assert_eq!(client.wait(streams[0]), End::Verified(bytes));
    drop(client);
    stopping.join().expect("no panic").expect("in good order");
}

#[test]
fn foreign_datagrams_are_dropped_and_counted() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "f", 1 << 20, 1);
    let mut client = Downloader::new(&rig);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for size in 0..200 {
        socket
            .send_to(&content(size * 7, size as u64), rig.server.address())
            .expect("loopback");
    }
    assert_eq!(client.fetch("f"), bytes);
    assert!(client.control.counter(&["transfers", "foreign_datagrams"]) > 0);
}

/// Pages that are not in memory are read by a helper; meanwhile others send.
#[cfg(target_os = "linux")]
#[test]
fn a_cold_file_arrives_and_holds_up_nobody() {
    let rig = Rig::new(Mode::Tls);
    let bytes = share(&rig, "cold", 24 << 20, 1);
    let warm = share(&rig, "warm", 100_000, 2);
    let file = std::fs::File::open(rig.share().join("cold")).expect("there");
    file.sync_all().expect("a disk");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a file");
    let mut client = Downloader::new(&rig);
    let (offered, _) = client.get(&["cold", "warm"]);
    let streams = client.start(&offered, &[]);
    assert_eq!(client.wait(streams[1]), End::Verified(warm));
    assert!(client.wait(streams[0]) == End::Verified(bytes));
}
