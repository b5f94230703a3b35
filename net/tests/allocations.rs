//! The packet path does not allocate: counted over real sends and receives.
//!
//! Counted per thread, for the test harness allocates on its own.
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::net::Ipv4Addr;

use columba_core::units::{Ecn, Timestamp};
use columba_net::clock::Clock;
use columba_net::timer::PreciseTimer;
use columba_net::udp::{RecvBatch, SendOutcome, SendTrain, UdpOptions, UdpSocket};
use mio::{Events, Interest, Poll, Token};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Fixture {
    receiver: UdpSocket,
    sender: UdpSocket,
    batch: RecvBatch,
    poll: Poll,
    events: Events,
    timer: PreciseTimer,
    clock: Clock,
    data: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let clock = Clock::new();
        let mut fixture = Self {
            receiver: UdpSocket::bind(addr, &UdpOptions::default()).unwrap(),
            sender: UdpSocket::bind(addr, &UdpOptions::default()).unwrap(),
            batch: RecvBatch::new(),
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(16),
            timer: PreciseTimer::new(clock).unwrap(),
            clock,
            data: vec![5; 44 * 1472],
        };
        let registry = fixture.poll.registry();
        registry
            .register(&mut fixture.receiver, Token(0), Interest::READABLE)
            .unwrap();
        registry
            .register(&mut fixture.timer, Token(1), Interest::READABLE)
            .unwrap();
        fixture
    }

    /// One train there, and everything that is in it here.
    fn exchange(&mut self) {
        let train = SendTrain {
            to: self.receiver.local_addr(),
            segment_bytes: 1472,
            data: &self.data,
            ecn: Some(Ecn::Ect0),
        };
        assert_eq!(self.sender.send(&train).unwrap(), SendOutcome::Sent);
        let mut bytes = 0;
        while bytes < self.data.len() {
            match self.receiver.recv(&mut self.batch) {
                Ok(_) => {
                    for mut train in self.batch.iter_mut() {
                        bytes += train.datagrams().map(|one| one.len()).sum::<usize>();
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    self.poll.poll(&mut self.events, None).unwrap();
                }
            }
        }
        self.timer.arm(self.clock.now()).unwrap();
        self.timer.arm(Timestamp::MAX).unwrap();
    }
}

#[test]
fn trains_and_deadlines_cost_no_allocation() {
    let mut fixture = Fixture::new();
    fixture.exchange();
    let before = ALLOCATIONS.get();
    for _ in 0..200 {
        fixture.exchange();
    }
    let after = ALLOCATIONS.get();
    assert_eq!(after - before, 0, "allocations in 200 exchanges");
}
