//! Golden bytes of every frame kind, round trips, and input that is broken on purpose.

use proptest::prelude::*;

use super::*;
use crate::control::limits::HEADER_BYTES;
use crate::control::{EncodeError, FrameDecoder, Framing};

/// Every kind once, with its exact bytes after the length field.
fn golden() -> Vec<(Frame<'static>, Vec<u8>)> {
    let mut all = golden_client();
    all.extend(golden_server());
    all
}

#[expect(clippy::too_many_lines, reason = "a table of all kinds")]
fn golden_client() -> Vec<(Frame<'static>, Vec<u8>)> {
    vec![
        (
            Frame::Hello(Hello {
                version: 1,
                features: 0x0102_0303,
                purpose: Purpose::Chat,
                name: "al",
                password: "p",
                software: "s",
                returns: None,
            }),
            b"\x01CLMB\0\x01\x01\x02\x03\x03\x01\0\x02al\0\x01p\0\x01s".to_vec(),
        ),
        (
            Frame::Hello(Hello {
                version: 1,
                features: features::RETURNS,
                purpose: Purpose::Chat,
                name: "al",
                password: "",
                software: "s",
                returns: Some(Heard {
                    chat: 0x0102_0304_0506_0708,
                    sequence: 9,
                }),
            }),
            b"\x01CLMB\0\x01\0\0\0\x04\x01\0\x02al\0\0\0\x01s\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\x09"
                .to_vec(),
        ),
        (Frame::Say { text: "hi" }, b"\x02\0\x02hi".to_vec()),
        (
            Frame::Whisper {
                to: "bo",
                text: "x",
            },
            b"\x03\0\x02bo\0\x01x".to_vec(),
        ),
        (Frame::Users, b"\x04".to_vec()),
        (
            Frame::Files {
                request: 7,
                prefix: "a/",
            },
            b"\x05\0\0\0\x07\0\x02a/".to_vec(),
        ),
        (Frame::Stats, b"\x06".to_vec()),
        (
            Frame::Open(Open {
                max_datagram: 1472,
                policy: Policy::Low,
                rate_limit: 256,
            }),
            b"\x07\x05\xc0\x01\0\0\0\0\0\0\x01\0".to_vec(),
        ),
        (
            Frame::Get {
                request: 9,
                names: vec!["a", "bc"],
            },
            b"\x08\0\0\0\x09\0\x02\0\x01a\0\x02bc".to_vec(),
        ),
        (
            Frame::Start {
                entries: vec![StartEntry {
                    stream: 0x00ab_cdef,
                    file: 2,
                    missing: vec![SegmentRange { first: 3, count: 4 }],
                }],
            },
            b"\x09\0\x01\0\xab\xcd\xef\0\0\0\x02\0\x01\0\0\0\x03\0\0\0\x04".to_vec(),
        ),
        (
            Frame::Cancel { streams: vec![5] },
            b"\x0a\0\x01\0\0\0\x05".to_vec(),
        ),
        (
            Frame::Ping {
                from: Side::Client,
                nonce: 1,
            },
            b"\x0b\0\0\0\0\0\0\0\x01".to_vec(),
        ),
        (
            Frame::Pong {
                from: Side::Client,
                nonce: 2,
            },
            b"\x0c\0\0\0\0\0\0\0\x02".to_vec(),
        ),
        (Frame::Leave, b"\x0d".to_vec()),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table of all kinds")]
fn golden_server() -> Vec<(Frame<'static>, Vec<u8>)> {
    let mut grant = b"\x89\0\0\0\x01\x2c\xe2\x01\x20".to_vec();
    grant.extend([0xaa; 32]);
    grant.extend([0xbb; 32]);
    grant.extend([0, 0, 0x75, 0x30]);
    let mut offer = b"\x8a\0\0\0\x09\x01\0\x01\0\0\0\x02\0\x01f\0\0\0\0\0\0\0\x0a".to_vec();
    offer.extend([0xcc; 16]);
    vec![
        (
            Frame::Welcome(Welcome {
                version: 1,
                features: 1,
                software: "c",
                name: "al",
                sequence: 3,
                time_ms: 4,
                history: None,
            }),
            b"\x81\0\x01\0\0\0\x01\0\x01c\0\x02al\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04".to_vec(),
        ),
        (
            Frame::Welcome(Welcome {
                version: 1,
                features: features::HISTORY,
                software: "c",
                name: "",
                sequence: 3,
                time_ms: 4,
                history: Some(History { chat: 7, missed: 8 }),
            }),
            b"\x81\0\x01\0\0\0\x02\0\x01c\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08"
                .to_vec(),
        ),
        (
            Frame::Error(ErrorFrame {
                code: ControlError::NameTaken,
                fatal: true,
                request: 6,
                text: "no",
            }),
            b"\x82\0\x04\x01\0\0\0\x06\0\x02no".to_vec(),
        ),
        (
            Frame::Message(Message {
                sequence: 1,
                time_ms: 2,
                from: "a",
                text: "b",
            }),
            b"\x83\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\x01a\0\x01b".to_vec(),
        ),
        (
            Frame::Whispered(Whispered {
                time_ms: 2,
                from: "a",
                to: "b",
                text: "c",
            }),
            b"\x84\0\0\0\0\0\0\0\x02\0\x01a\0\x01b\0\x01c".to_vec(),
        ),
        (
            Frame::Presence {
                time_ms: 2,
                joined: vec!["a"],
                left: vec![],
            },
            b"\x85\0\0\0\0\0\0\0\x02\0\x01\0\x01a\0\0".to_vec(),
        ),
        (
            Frame::UserList {
                last: true,
                names: vec!["a"],
            },
            b"\x86\x01\0\x01\0\x01a".to_vec(),
        ),
        (
            Frame::FileList {
                request: 1,
                last: false,
                entries: vec![FileEntry {
                    name: "f",
                    size: 2,
                    mtime_s: 3,
                }],
            },
            b"\x87\0\0\0\x01\0\0\x01\0\x01f\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03".to_vec(),
        ),
        (Frame::StatsReport { json: "{}" }, b"\x88\0\x02{}".to_vec()),
        (
            Frame::Grant(Grant {
                association: 1,
                udp_port: 11_490,
                cell_bytes: 288,
                secret_down: [0xaa; 32],
                secret_up: [0xbb; 32],
                idle_ms: 30_000,
            }),
            grant,
        ),
        (
            Frame::Offer {
                request: 9,
                last: true,
                entries: vec![OfferEntry {
                    file: 2,
                    name: "f",
                    size: 10,
                    version: [0xcc; 16],
                }],
            },
            offer,
        ),
        (
            Frame::Ended {
                stream: 5,
                code: ControlError::FileChanged,
                text: "f",
            },
            b"\x8b\0\0\0\x05\0\x10\0\x01f".to_vec(),
        ),
        (
            Frame::Ping {
                from: Side::Server,
                nonce: 1,
            },
            b"\x8c\0\0\0\0\0\0\0\x01".to_vec(),
        ),
        (
            Frame::Pong {
                from: Side::Server,
                nonce: 2,
            },
            b"\x8d\0\0\0\0\0\0\0\x02".to_vec(),
        ),
        golden_path_report(),
    ]
}

fn golden_path_report() -> (Frame<'static>, Vec<u8>) {
    let report = PathReport {
        association: 1,
        interval_ms: 2,
        srtt_us: 3,
        min_rtt_us: 4,
        cwnd: 5,
        in_flight: 6,
        credit: 7,
        pacing_rate: 8,
        delivery_rate: 9,
        server_limit: 10,
        sent_packets: 11,
        lost_packets: 12,
        retransmitted_packets: 13,
        datagram_bytes: 14,
        limited: [15, 16, 17, 18, 19, 20, 21],
    };
    let mut bytes = vec![0x8e];
    for number in 1..=4 {
        bytes.extend([0, 0, 0, number]);
    }
    for number in 5..=10 {
        bytes.extend([0, 0, 0, 0, 0, 0, 0, number]);
    }
    for number in 11..=13 {
        bytes.extend([0, 0, 0, number]);
    }
    for number in 14..=21 {
        bytes.extend([0, number]);
    }
    (Frame::PathReport(report), bytes)
}

#[test]
fn golden_bytes_are_written() {
    for (frame, expected) in golden() {
        let mut out = b"before".to_vec();
        frame
            .encode(Framing::Tls, &mut out)
            .expect("the frame fits");
        let length = u32::try_from(expected.len()).expect("short");
        assert_eq!(&out[..6], b"before");
        assert_eq!(out[6..10], length.to_be_bytes(), "{frame:?}");
        assert_eq!(out[10..], expected, "{frame:?}");
    }
}

#[test]
fn golden_bytes_are_read() {
    for (frame, bytes) in golden() {
        assert_eq!(decode(frame.sender(), bytes[0], &bytes[1..]), Ok(frame));
    }
}

#[test]
fn every_kind_has_golden_bytes() {
    let mut kinds: Vec<u8> = golden().iter().map(|(frame, _)| frame.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let all: Vec<u8> = (0x01..=0x0d).chain(0x81..=0x8e).collect();
    assert_eq!(kinds, all);
}

#[test]
fn the_plaintext_checksum_covers_the_whole_frame() {
    let mut out = Vec::new();
    Frame::Users
        .encode(Framing::Plaintext, &mut out)
        .expect("the frame fits");
    assert_eq!(out[..5], [0, 0, 0, 1, 0x04]);
    assert_eq!(
        out[5..],
        crate::protection::crc32c(&[0, 0, 0, 1, 0x04]).to_be_bytes()
    );
}

#[test]
fn bodies_cut_short_or_with_bytes_after_them_are_refused() {
    for (frame, bytes) in golden() {
        let (side, kind, body) = (frame.sender(), bytes[0], &bytes[1..]);
        for end in 0..body.len() {
            assert_eq!(
                decode(side, kind, &body[..end]),
                Err(ParseError::Truncated { kind })
            );
        }
        let mut longer = body.to_vec();
        longer.push(0);
        assert_eq!(
            decode(side, kind, &longer),
            Err(ParseError::Trailing { kind, bytes: 1 })
        );
    }
}

#[test]
fn a_huge_count_is_refused_before_anything_is_reserved() {
    for (side, kind, prefix) in [
        (Side::Client, kind::CANCEL, 0),
        (Side::Client, kind::START, 0),
        (Side::Client, kind::GET, 4),
        (Side::Server, kind::USER_LIST, 1),
        (Side::Server, kind::OFFER, 5),
    ] {
        let mut body = vec![0; prefix];
        body.extend([0xff, 0xff, 0, 0]);
        assert_eq!(
            decode(side, kind, &body),
            Err(ParseError::Truncated { kind })
        );
    }
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let bad = |kind, body: &[u8], field| {
        assert_eq!(
            decode(Side::Client, kind, body),
            Err(ParseError::BadValue { kind, field })
        );
    };
    bad(kind::OPEN, b"\0\0\x02\0\0\0\0\0\0\0\0", "policy");
    bad(kind::CANCEL, b"\0\x01\x01\0\0\0", "stream");
    bad(
        kind::START,
        b"\0\x01\0\0\0\x01\0\0\0\x02\0\x01\0\0\0\x03\0\0\0\0",
        "missing",
    );
    bad(
        kind::START,
        b"\0\x01\0\0\0\x01\0\0\0\x02\0\x01\xff\xff\xff\xff\0\0\0\x01",
        "missing",
    );
    assert_eq!(
        decode(Side::Client, kind::SAY, b"\0\x01\xff"),
        Err(ParseError::NotUtf8 { kind: kind::SAY })
    );
}

#[test]
fn another_version_is_told_apart_from_nonsense() {
    let later = b"CLMB\0\x02whatever comes then";
    assert_eq!(
        decode(Side::Client, kind::HELLO, later),
        Err(ParseError::Version { theirs: 2 })
    );
    let foreign = b"SSH-2.0-Foreign";
    assert_eq!(
        decode(Side::Client, kind::HELLO, foreign),
        Err(ParseError::NotColumba)
    );
}

#[test]
fn what_does_not_fit_leaves_the_output_as_it_was() {
    let mut out = b"before".to_vec();
    let long = "x".repeat(70_000);
    let error = Frame::Say { text: &long }.encode(Framing::Tls, &mut out);
    assert_eq!(error, Err(EncodeError::FieldTooLong { length: 70_000 }));
    let names = vec![&long[..1_000]; 70];
    let error = Frame::Get { request: 1, names }.encode(Framing::Tls, &mut out);
    assert_eq!(
        error,
        Err(EncodeError::FrameTooLong {
            bytes: 1 + 4 + 2 + 70 * 1_002
        })
    );
    assert_eq!(out, b"before");
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let all = golden()
        .iter()
        .map(|(frame, _)| format!("{frame:?}"))
        .collect::<String>();
    assert!(!all.contains("password"));
    assert!(!all.contains("secret"));
}

proptest! {
    #[test]
    fn any_text_survives(name in "\\PC{0,40}", text in any::<String>(), sequence: u64, time_ms: u64) {
        let frame = Frame::Message(Message { sequence, time_ms, from: &name, text: &text });
        for framing in [Framing::Tls, Framing::Plaintext] {
            let mut out = Vec::new();
            frame.encode(framing, &mut out).expect("the frame fits");
            let mut decoder = FrameDecoder::new(framing, Side::Server);
            decoder.push(&out);
            prop_assert_eq!(decoder.next_frame(), Ok(Some(frame.clone())));
        }
    }

    #[test]
    fn any_list_survives(
        names in prop::collection::vec(any::<String>(), 0..50),
        ranges in prop::collection::vec((0u32..1_000_000, 1u32..1_000_000), 0..50),
        stream in 0..=MAX_STREAM_ID,
        file: u32,
    ) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let missing = ranges.iter().map(|&(first, count)| SegmentRange { first, count }).collect();
        let frames = [
            Frame::Get { request: file, names },
            Frame::Start { entries: vec![StartEntry { stream, file, missing }] },
        ];
        for frame in frames {
            let mut out = Vec::new();
            frame.encode(Framing::Tls, &mut out).expect("the frame fits");
            prop_assert_eq!(decode(Side::Client, out[4], &out[HEADER_BYTES..]), Ok(frame));
        }
    }

    #[test]
    fn mutated_frames_never_panic(
        which in 0..26usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (frame, mut bytes) = golden().swap_remove(which);
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(1 + cut.index(bytes.len()));
        // What still decodes must encode to the same bytes again.
        if let Ok(decoded) = decode(frame.sender(), bytes[0], &bytes[1..]) {
            let mut out = Vec::new();
            decoded.encode(Framing::Tls, &mut out).expect("the frame fits");
            prop_assert_eq!(&out[4..], &bytes[..]);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), plain: bool) {
        let framing = if plain { Framing::Plaintext } else { Framing::Tls };
        for side in [Side::Client, Side::Server] {
            let mut decoder = FrameDecoder::new(framing, side);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
