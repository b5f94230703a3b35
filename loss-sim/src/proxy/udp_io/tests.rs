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
