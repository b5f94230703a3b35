//! Bytes that are no frames, floods, silence, slow readers: the server lives, and others do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;

use columba_core::control::{ControlError, Frame, PROTOCOL_VERSION, Purpose};

use crate::support::{MODES, Mode, Rig};

#[test]
fn frames_may_come_byte_by_byte_or_all_at_once() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut alice = rig.join("alice");
        let bytes = alice.encode(&Frame::Say { text: "slowly" });
        for byte in &bytes {
            alice.send_bytes(&[*byte]);
        }
        assert_eq!(alice.expect_message().2, "slowly");
        let many: Vec<u8> = (0..500)
            .flat_map(|index| {
                alice.encode(&Frame::Say {
                    text: &index.to_string(),
                })
            })
            .collect();
        alice.send_bytes(&many);
        for index in 0..500 {
            assert_eq!(alice.expect_message().2, index.to_string());
        }
    }
}

#[test]
fn broken_frames_end_their_connection_only() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut innocent = rig.join("innocent");
        for bad in [
            &[0, 0, 0, 0][..],
            &[0, 1, 0, 1],
            &[0xff; 4],
            &[0, 0, 0, 9, 0x7f],
            &[0, 0, 0, 9, 0x81],
        ] {
            let mut client = rig.headless();
            client.send_bytes(bad);
            assert_eq!(client.expect_end(), ControlError::BadFrame, "{bad:?}");
        }
        let mut early = rig.connect();
        early.send(&Frame::Users);
        assert_eq!(early.expect_end(), ControlError::BadFrame);
        let mut twice = rig.headless();
        twice.hello(Purpose::Headless, "", "");
        assert_eq!(twice.expect_end(), ControlError::BadFrame);
        innocent.say("still here");
        assert_eq!(innocent.expect_message().2, "still here");
        assert_eq!(innocent.counter(&["bad_frames"]), 5);
    }
}

#[test]
fn another_version_is_told_both_numbers() {
    let rig = Rig::new(Mode::Plaintext);
    let mut client = rig.connect();
    let mut bytes = Vec::from(*b"\0\0\0\x07\x01CLMB\0\x63");
    let crc = crc_of(&bytes);
    bytes.extend(crc);
    client.send_bytes(&bytes);
    let (code, fatal, text) = client.expect_error();
    assert_eq!((code, fatal), (ControlError::Version, true));
    assert!(
        text.contains("99") && text.contains(&PROTOCOL_VERSION.to_string()),
        "{text}"
    );
}

/// CRC32C, bit by bit: the test's own idea of it.
fn crc_of(bytes: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    (!crc).to_be_bytes()
}

#[test]
fn garbage_of_all_kinds_is_survived() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut innocent = rig.join("innocent");
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for round in 0..60 {
            let mut garbage = vec![0; 1 + round * 37];
            for byte in &mut garbage {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state.to_be_bytes()[0];
            }
            let mut stream = TcpStream::connect(rig.server.address()).expect("it accepts");
            // The server may close before all is written or read.
            let _ = stream.write_all(&garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        for request in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "SSH-2.0-OpenSSH_9\r\n",
            "\x16\x03\x01\x02\0\x01",
        ] {
            let mut stream = TcpStream::connect(rig.server.address()).expect("it accepts");
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        innocent.say("still here");
        assert_eq!(innocent.expect_message().2, "still here");
    }
}

#[test]
fn a_flood_is_shed_with_a_reason_and_costs_nobody_else() {
    let rig = Rig::with(Mode::Tls, |config| config.message_limit = 50);
    let mut flooder = rig.join("flooder");
    let mut innocent = rig.join("innocent");
    let many: Vec<u8> = (0..2_000)
        .flat_map(|_| flooder.encode(&Frame::Say { text: "spam" }))
        .collect();
    flooder.send_bytes(&many);
    let (code, fatal, text) = flooder.expect_error();
    assert_eq!((code, fatal), (ControlError::TooFast, false));
    assert!(text.contains("dropped"), "{text}");
    flooder.settle();
    innocent.say("may I?");
    let heard = innocent.expect(|frame| match frame {
        Frame::Message(message) if message.from == "innocent" => Some(message.sequence),
        _ => None,
    });
    assert!(heard < 1_000, "{heard}");
    assert!(innocent.counter(&["too_fast"]) >= 1_000);
}

#[test]
fn a_slow_reader_is_cut_off_and_others_hear_everything() {
    let rig = Rig::with(Mode::Plaintext, |config| config.message_limit = 0);
    let _slow = rig.join("slow");
    let mut alice = rig.join("alice");
    let text = "x".repeat(4_000);
    let mut said = 0u64;
    // The kernel's buffers take some megabytes before the server's own bound is reached.
    while alice.counter(&["slow_readers"]) == 0 {
        for _ in 0..200 {
            alice.say(&text);
        }
        for _ in 0..200 {
            said += 1;
            assert_eq!(alice.expect_message().0, said);
        }
        assert!(said < 40_000, "160 MB are beyond any buffer");
    }
    assert_eq!(alice.users(), ["alice"]);
}

#[test]
fn crowds_come_and_go_without_a_trace() {
    for mode in MODES {
        let rig = Rig::new(mode);
        let mut alice = rig.join("alice");
        for round in 0..3 {
            let crowd: Vec<_> = (0..50)
                .map(|index| rig.join(&format!("r{round}u{index}")))
                .collect();
            assert_eq!(alice.users().len(), 51);
            drop(crowd);
            while alice.users().len() > 1 {}
        }
        while alice.counter(&["clients"]) > 1 {}
    }
}

#[test]
fn attempts_that_clients_give_up_count_for_nobody() {
    let rig = Rig::new(Mode::Tls);
    let mut alice = rig.join("alice");
    let (joins, shed) = (alice.counter(&["joins"]), alice.counter(&["shed"]));
    // More than may wait at once: each of them is forgotten when it ends.
    for round in 0..600 {
        let mut stream = TcpStream::connect(rig.server.address()).expect("it accepts");
        if round % 2 == 0 {
            // A TLS record that is not whole yet.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("it reads");
        }
    }
    while alice.counter(&["clients"]) > 1 {}
    for counter in ["bad_frames", "refused", "too_fast"] {
        assert_eq!(alice.counter(&[counter]), 0, "{counter}");
    }
    assert_eq!(alice.counter(&["joins"]), joins);
    assert_eq!(alice.counter(&["shed"]), shed);
    assert_eq!(alice.users(), ["alice"]);
}
