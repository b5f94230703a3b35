use super::*;
use std::io;
use std::net::Ipv4Addr;

use mio::net::UdpSocket;

fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a socket");
    prepare(&socket);
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// Loopback delivers within the sending call, so whatever was sent can be received at once.
fn receive_all(io: &mut UdpIo, socket: &UdpSocket) -> Vec<(SocketAddr, u8, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let result = io.receive(socket, |received| {
            all.push((received.from, received.ecn, received.bytes.to_vec()));
        });
        match result {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return all;
            }
        }
    }
}

#[test]
fn batches_keep_sizes_and_order() {
    let mut io = UdpIo::new();
    let ((sender, from), (receiver, to)) = (socket(), socket());
    let to = to.into();
    let sizes = [0, 1, 1472, 9000, 65_507, 5];
    let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| vec![0x5a; *size]).collect();
    let packets: Vec<_> = payloads
        .iter()
        .map(|bytes| Outgoing {
            to: Some(&to),
            is_ipv4: true,
            ecn: 0,
            bytes,
        })
        .collect();
    assert_eq!(io.send(&sender, &packets).expect("sent"), sizes.len());
    let received = receive_all(&mut io, &receiver);
    let expected: Vec<_> = payloads.into_iter().map(|bytes| (from, 0, bytes)).collect();
    assert!(received == expected, "sizes or order differ");
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
#[test]
fn ecn_codepoints_pass() {
    let mut io = UdpIo::new();
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(receiver) = UdpSocket::bind(local.parse().expect("an address")) else {
            continue; // No IPv6 here.
        };
        prepare(&receiver);
        let sender = UdpSocket::bind(local.parse().expect("an address")).expect("a socket");
        let to = receiver.local_addr().expect("bound");
        let is_ipv4 = travels_as_ipv4(to);
        let to = to.into();
        let packets = [0, 1, 2, 3].map(|ecn| Outgoing {
            to: Some(&to),
            is_ipv4,
            ecn,
            bytes: b"coo",
        });
        assert_eq!(io.send(&sender, &packets).expect("sent"), 4);
        let received: Vec<_> = receive_all(&mut io, &receiver)
            .into_iter()
            .map(|(_, ecn, _)| ecn)
            .collect();
        assert_eq!(received, [0, 1, 2, 3], "{local}");
    }
}

#[test]
fn trains_are_of_one_size_and_kind() {
    let (here, there) = (socket().1.into(), socket().1.into());
    let large = [0; 65_507];
    let packet = |to, ecn, len: usize| Outgoing {
        to,
        is_ipv4: true,
        ecn,
        bytes: &large[..len],
    };
    let same = packet(Some(&here), 0, 1472);
    let short = packet(Some(&here), 0, 9);
    for (packets, expected) in [
        (vec![], 0),
        (vec![same], 1),
        (vec![same; 4], 4),
        (vec![same, same, short, same], 3),
        (vec![short, same], 1),
        (vec![same, packet(Some(&here), 0, 0)], 1),
        (vec![packet(Some(&here), 0, 0); 2], 1),
        (vec![same, packet(Some(&there), 0, 1472)], 1),
        (vec![same, packet(None, 0, 1472)], 1),
        (vec![packet(None, 2, 7); 3], 3),
        (vec![same, packet(Some(&here), 2, 1472)], 1),
        (vec![same; 100], MAX_TRAIN_BYTES / 1472),
        (vec![short; 100], MAX_TRAIN_DATAGRAMS),
        (vec![packet(Some(&here), 0, 65_507); 2], 1),
    ] {
        assert_eq!(train_len(&packets, MAX_DATAGRAM_BYTES), expected);
    }
    assert_eq!(train_len(&[same; 4], 1471), 1);
}

/// Trains, one with a codepoint and one that ends short, and packets that fit no train arrive one by one.
#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
#[test]
fn trains_arrive_as_datagrams() {
    let ((sender, from), (receiver, to)) = (socket(), socket());
    let to = to.into();
    let packets: Vec<_> = [
        (300, 0, 1000),
        (100, 1, 1200),
        (1, 1, 7),
        (2, 0, 0),
        (90, 2, 100),
    ]
    .into_iter()
    .flat_map(|(count, ecn, len)| std::iter::repeat_n((ecn, vec![0x5a_u8; len]), count))
    .collect();
    let outgoing: Vec<_> = packets
        .iter()
        .map(|(ecn, bytes)| Outgoing {
            to: Some(&to),
            is_ipv4: true,
            ecn: *ecn,
            bytes,
        })
        .collect();
    for largest_segment_bytes in [MAX_DATAGRAM_BYTES, 1100, 0] {
        let mut received = Vec::new();
        let mut io = UdpIo::with_largest_segment(largest_segment_bytes);
        let mut rest = &outgoing[..];
        while !rest.is_empty() {
            let sent = io.send(&sender, rest).expect("sent");
            rest = &rest[sent..];
            received.extend(receive_all(&mut io, &receiver));
        }
        let expected = packets.iter().cloned();
        let expected: Vec<_> = expected.map(|(ecn, bytes)| (from, ecn, bytes)).collect();
        assert!(received == expected, "{largest_segment_bytes}");
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
#[test]
fn the_kernels_drops_are_counted() {
    let mut io = UdpIo::new();
    let ((sender, _), (receiver, to)) = (socket(), socket());
    let small = socket2::SockRef::from(&receiver);
    small.set_recv_buffer_size(1).expect("the least buffer");
    let to = to.into();
    let packet = Outgoing {
        to: Some(&to),
        is_ipv4: true,
        ecn: 0,
        bytes: &[0; 1000],
    };
    let mut sent = 0;
    for _ in 0..8 {
        sent += io.send(&sender, &[packet; BATCH]).expect("sent");
    }
    let received = receive_all(&mut io, &receiver).len();
    assert!(received < sent);
    assert_eq!(kernel_drops(&receiver) as usize, sent - received);
}

#[test]
fn portable_input_and_output_work_too() {
    let mut io = portable::UdpIo::new();
    let ((sender, from), (receiver, to)) = (socket(), socket());
    portable::prepare(&receiver);
    let to = to.into();
    let packet = Outgoing {
        to: Some(&to),
        is_ipv4: true,
        ecn: 0,
        bytes: b"coo",
    };
    assert_eq!(io.send(&sender, &[packet; 3]).expect("sent"), 3);
    let mut count = 0;
    let received = io.receive(&receiver, |received| {
        assert_eq!((received.from, received.bytes), (from, &b"coo"[..]));
        count += 1;
    });
    assert_eq!((received.expect("three"), count), (3, 3));
    assert_eq!(portable::kernel_drops(&receiver), 0);
}
