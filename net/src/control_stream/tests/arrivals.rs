//! What reads tell of when bytes came.

use super::*;

#[test]
fn nobody_tells_of_arrivals_unless_asked() {
    let mut pair = Pair::plain();
    pair.server.reading = false;
    pair.client.send(b"hello");
    pair.client.pump();
    let mut sink = Vec::new();
    let mut events = Events::with_capacity(8);
    while sink.len() < 5 {
        pair.poll.poll(&mut events, None).unwrap();
        let outcome = pair.server.stream.read(&mut sink, 1_000).unwrap();
        assert_eq!(outcome.arrived, None);
    }
}

#[cfg(all(target_os = "linux", not(feature = "portable-io")))]
mod linux {
    use std::time::SystemTime;

    use super::*;

    /// Sends until a message is told to have come: systems begin to take the time a moment after they were asked.
    fn stamped_message(pair: &mut Pair) -> (SystemTime, SystemTime, SystemTime) {
        pair.server.reading = false;
        let mut sink = Vec::new();
        let mut events = Events::with_capacity(8);
        for _ in 0..10_000 {
            let sent = SystemTime::now();
            pair.client.send(b"hello");
            pair.client.pump();
            sink.clear();
            let outcome = loop {
                let outcome = pair.server.stream.read(&mut sink, 1_000).unwrap();
                if sink.len() == 5 {
                    break outcome;
                }
                pair.poll.poll(&mut events, None).unwrap();
            };
            if let Some(arrived) = outcome.arrived {
                return (sent, arrived, SystemTime::now());
            }
        }
        panic!("this system tells of no arrival");
    }

    #[test]
    fn arrivals_lie_between_sending_and_reading() {
        for mut pair in [Pair::plain(), Pair::tls()] {
            pair.finish_handshake();
            pair.server.stream.stamp_arrivals();
            let (sent, arrived, read) = stamped_message(&mut pair);
            assert!(
                sent <= arrived && arrived <= read,
                "{sent:?} {arrived:?} {read:?}"
            );
        }
    }

    #[test]
    fn an_arrival_is_told_of_the_last_byte_only() {
        let mut pair = Pair::plain();
        pair.server.stream.stamp_arrivals();
        stamped_message(&mut pair);
        let mut sink = Vec::new();
        pair.client.send(&[7; 20]);
        pair.client.pump();
        let mut events = Events::with_capacity(8);
        pair.poll.poll(&mut events, None).unwrap();
        let cut = pair.server.stream.read(&mut sink, 10).unwrap();
        assert_eq!((cut.bytes, cut.stop), (10, ReadStop::BudgetSpent));
        assert_eq!(cut.arrived, None, "more may be there");
        let rest = pair.server.stream.read(&mut sink, 100).unwrap();
        assert_eq!((rest.bytes, rest.stop), (10, ReadStop::Drained));
        assert!(rest.arrived.is_some());
        let nothing = pair.server.stream.read(&mut sink, 100).unwrap();
        assert_eq!((nothing.bytes, nothing.arrived), (0, None));
    }

    #[test]
    fn an_arrival_is_not_told_of_what_waits_for_the_rest_of_its_record() {
        let mut pair = Pair::tls();
        pair.finish_handshake();
        pair.server.stream.stamp_arrivals();
        stamped_message(&mut pair);
        // One whole record, and the beginning of the next one.
        pair.client.send(b"first");
        pair.client.pump();
        pair.client.stream.tcp.write_all(&[0x17, 3, 3]).unwrap();
        let mut sink = Vec::new();
        let mut events = Events::with_capacity(8);
        let outcome = loop {
            let outcome = pair.server.stream.read(&mut sink, 1_000).unwrap();
            if !pair.server.stream.has_read_all() {
                break outcome;
            }
            if outcome.bytes == 0 {
                pair.poll.poll(&mut events, None).unwrap();
            }
        };
        assert_eq!(sink, b"first");
        assert_eq!(outcome.arrived, None);
    }
}
