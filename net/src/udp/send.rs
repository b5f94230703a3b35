//! How a train leaves: as few system calls as the kernel accepts, whatever the device can do.

use std::io;
use std::net::{IpAddr, SocketAddr};

use columba_core::units::Ecn;

/// The most payload that fits one IPv4 datagram, and so one segmented send: 65,535 − 20 − 8.
pub const MAX_TRAIN_BYTES: usize = 65_507;

/// How many addresses are remembered as reached through a device that refuses segmentation.
const REFUSING_ADDRESSES: usize = 32;

/// Datagrams to one address, to be sent together.
#[derive(Clone, Copy, Debug)]
pub struct SendTrain<'a> {
    /// Where to; an IPv4 address also on a dual-stack socket.
    pub to: SocketAddr,
    /// The size of each datagram but the last, which may be shorter.
    pub segment_bytes: usize,
    /// The payloads, one directly after the other; one system call takes [`MAX_TRAIN_BYTES`].
    pub data: &'a [u8],
    /// The ECN codepoint to set; `None` and [`Ecn::NotEct`] leave it clear.
    pub ecn: Option<Ecn>,
}

/// What became of a [`SendTrain`]. Its first `sent_segments` datagrams left in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// The kernel took it all.
    Sent,
    /// The socket's buffer is full: a writable event will tell when to go on.
    WouldBlock {
        /// Datagrams that the kernel took before.
        sent_segments: usize,
    },
    /// The kernel has no memory for packets (`ENOBUFS`): no event will tell, try again later.
    NoBuffers {
        /// Datagrams that the kernel took before.
        sent_segments: usize,
    },
    /// A datagram exceeds the MTU of the interface: this size never leaves the machine.
    TooLarge {
        /// Datagrams that the kernel took before.
        sent_segments: usize,
    },
}

/// One system call of the platform.
pub(super) trait SendCall {
    /// The most segments in one call; 1 where there is no segmentation offload.
    fn max_segments(&self) -> usize;

    /// Sends `data` as one datagram, or as segments of `segment_bytes` each.
    fn send_call(
        &mut self,
        socket: &mio::net::UdpSocket,
        to: SocketAddr,
        segment_bytes: Option<u16>,
        data: &[u8],
        ecn: Option<Ecn>,
    ) -> io::Result<()>;
}

/// Splits trains for the kernel and remembers where segmentation offload does not work.
#[derive(Debug, Default)]
pub(super) struct TrainSender {
    /// A ring: the oldest entry gives way, and its address is tried with offload again.
    refusing: [Option<IpAddr>; REFUSING_ADDRESSES],
    next: usize,
    refusals: u64,
}

impl TrainSender {
    /// How often a device or route refused segmentation offload.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals
    }

    pub(super) fn send(
        &mut self,
        call: &mut impl SendCall,
        socket: &mio::net::UdpSocket,
        train: &SendTrain<'_>,
    ) -> io::Result<SendOutcome> {
        if train.data.is_empty() || train.segment_bytes == 0 {
            let text = "a train needs at least one byte and a segment size";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let per_call = self.segments_per_call(call.max_segments(), train);
        let mut sent_segments = 0;
        for part in train.data.chunks(per_call * train.segment_bytes) {
            let segments = part.len().div_ceil(train.segment_bytes);
            let size = u16::try_from(train.segment_bytes).ok();
            let segment_bytes = size.filter(|_| segments > 1);
            let error = match call.send_call(socket, train.to, segment_bytes, part, train.ecn) {
                Ok(()) => {
                    sent_segments += segments;
                    continue;
                }
                Err(error) => error,
            };
            let refusal = Refusal::of(&error);
            if refusal == Refusal::Segmentation && segments > 1 {
                tracing::debug!(to = %train.to.ip(), %error, "segmentation offload refused");
                return self.send_unsegmented(call, socket, train, sent_segments);
            }
            return refusal.outcome(error, sent_segments);
        }
        Ok(SendOutcome::Sent)
    }

    fn segments_per_call(&self, max_segments: usize, train: &SendTrain<'_>) -> usize {
        if max_segments == 1 || self.refusing.contains(&Some(train.to.ip())) {
            return 1;
        }
        (MAX_TRAIN_BYTES / train.segment_bytes).clamp(1, max_segments)
    }

    /// The refused train and all later ones to this address go datagram by datagram.
    fn send_unsegmented(
        &mut self,
        call: &mut impl SendCall,
        socket: &mio::net::UdpSocket,
        train: &SendTrain<'_>,
        already_sent: usize,
    ) -> io::Result<SendOutcome> {
        let datagrams = train.data.chunks(train.segment_bytes);
        for (index, datagram) in datagrams.enumerate().skip(already_sent) {
            if let Err(error) = call.send_call(socket, train.to, None, datagram, train.ecn) {
                return Refusal::of(&error).outcome(error, index);
            }
            if index == already_sent {
                // Only now is it known that segmentation was at fault, and not the address or
                // the size (older kernels answer EINVAL to segments beyond the MTU).
                self.refuse(train.to.ip());
            }
        }
        Ok(SendOutcome::Sent)
    }

    fn refuse(&mut self, address: IpAddr) {
        self.refusals += 1;
        self.refusing[self.next] = Some(address);
        self.next = (self.next + 1) % REFUSING_ADDRESSES;
    }
}

/// Why the kernel did not take a datagram, as far as senders react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    WouldBlock,
    NoBuffers,
    TooLarge,
    /// EIO or EINVAL: what devices without checksum offload, and tunnels, answer to UDP_SEGMENT.
    Segmentation,
    Other,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        #[cfg(unix)]
        const CODES: [i32; 4] = [libc::EMSGSIZE, libc::ENOBUFS, libc::EIO, libc::EINVAL];
        // WSAEMSGSIZE, WSAENOBUFS, WSAEOPNOTSUPP, WSAEINVAL
        #[cfg(not(unix))]
        const CODES: [i32; 4] = [10_040, 10_055, 10_045, 10_022];
        const TOO_LARGE: i32 = CODES[0];
        const NO_BUFFERS: i32 = CODES[1];
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => Self::WouldBlock,
            Some(TOO_LARGE) => Self::TooLarge,
            Some(NO_BUFFERS) => Self::NoBuffers,
            Some(code) if CODES[2..].contains(&code) => Self::Segmentation,
            _ => Self::Other,
        }
    }

    fn outcome(self, error: io::Error, sent_segments: usize) -> io::Result<SendOutcome> {
        match self {
            Self::WouldBlock => Ok(SendOutcome::WouldBlock { sent_segments }),
            Self::NoBuffers => Ok(SendOutcome::NoBuffers { sent_segments }),
            Self::TooLarge => Ok(SendOutcome::TooLarge { sent_segments }),
            Self::Segmentation | Self::Other => Err(error),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A kernel that follows a script; what it is sent counts only where it answers `Ok`.
    struct Kernel {
        answers: Vec<Option<i32>>,
        calls: Vec<(Option<u16>, usize)>,
        max_segments: usize,
    }

    impl Kernel {
        fn answering(answers: &[Option<i32>]) -> Self {
            Self {
                answers: answers.iter().rev().copied().collect(),
                calls: Vec::new(),
                max_segments: 64,
            }
        }
    }

    impl SendCall for Kernel {
        fn max_segments(&self) -> usize {
            self.max_segments
        }

        fn send_call(
            &mut self,
            _socket: &mio::net::UdpSocket,
            _to: SocketAddr,
            segment_bytes: Option<u16>,
            data: &[u8],
            _ecn: Option<Ecn>,
        ) -> io::Result<()> {
            self.calls.push((segment_bytes, data.len()));
            match self.answers.pop().flatten() {
                Some(code) => Err(io::Error::from_raw_os_error(code)),
                None => Ok(()),
            }
        }
    }

    fn send(
        sender: &mut TrainSender,
        kernel: &mut Kernel,
        segment_bytes: usize,
        bytes: usize,
    ) -> io::Result<SendOutcome> {
        let socket = mio::net::UdpSocket::bind(([127, 0, 0, 1], 0).into())?;
        let data = vec![1; bytes];
        let train = SendTrain {
            to: ([127, 0, 0, 1], 9).into(),
            segment_bytes,
            data: &data,
            ecn: None,
        };
        sender.send(kernel, &socket, &train)
    }

    #[test]
    fn a_train_is_one_call_and_a_single_datagram_is_not_segmented() {
        let (mut sender, mut kernel) = (TrainSender::default(), Kernel::answering(&[]));
        let sent = send(&mut sender, &mut kernel, 1472, 44 * 1472).unwrap();
        assert_eq!(sent, SendOutcome::Sent);
        let sent = send(&mut sender, &mut kernel, 1472, 1472).unwrap();
        assert_eq!(sent, SendOutcome::Sent);
        assert_eq!(kernel.calls, [(Some(1472), 44 * 1472), (None, 1472)]);
    }

    #[test]
    fn more_than_the_kernel_takes_at_once_is_split_between_datagrams() {
        let (mut sender, mut kernel) = (TrainSender::default(), Kernel::answering(&[]));
        let sent = send(&mut sender, &mut kernel, 1000, 66_001).unwrap();
        assert_eq!(sent, SendOutcome::Sent);
        assert_eq!(kernel.calls, [(Some(1000), 64_000), (Some(1000), 2001)]);
        kernel.calls.clear();
        let sent = send(&mut sender, &mut kernel, 8972, 8 * 8972).unwrap();
        assert_eq!(sent, SendOutcome::Sent);
        assert_eq!(kernel.calls, [(Some(8972), 7 * 8972), (None, 8972)]);
    }

    #[test]
    fn a_refused_train_goes_out_unsegmented_and_so_do_all_later_ones() {
        for refusal in [libc::EIO, libc::EINVAL] {
            let mut sender = TrainSender::default();
            let mut kernel = Kernel::answering(&[Some(refusal)]);
            let sent = send(&mut sender, &mut kernel, 100, 250).unwrap();
            assert_eq!(sent, SendOutcome::Sent);
            let singly = [(None, 100), (None, 100), (None, 50)];
            assert_eq!(kernel.calls[0], (Some(100), 250));
            assert_eq!(kernel.calls[1..], singly);
            assert_eq!(sender.refusals(), 1);
            kernel.calls.clear();
            let sent = send(&mut sender, &mut kernel, 100, 250).unwrap();
            assert_eq!(sent, SendOutcome::Sent);
            assert_eq!(kernel.calls, singly);
        }
    }

    #[test]
    fn a_segment_beyond_the_mtu_does_not_turn_segmentation_off() {
        let mut sender = TrainSender::default();
        let mut kernel = Kernel::answering(&[Some(libc::EINVAL), Some(libc::EMSGSIZE)]);
        let sent = send(&mut sender, &mut kernel, 100, 250).unwrap();
        assert_eq!(sent, SendOutcome::TooLarge { sent_segments: 0 });
        assert_eq!(sender.refusals(), 0);
    }

    #[test]
    fn an_invalid_datagram_is_an_error_and_not_the_fault_of_segmentation() {
        let mut sender = TrainSender::default();
        let mut kernel = Kernel::answering(&[Some(libc::EINVAL), Some(libc::EINVAL)]);
        assert!(send(&mut sender, &mut kernel, 100, 250).is_err());
        assert_eq!(sender.refusals(), 0);
    }

    #[test]
    fn a_full_socket_reports_how_far_it_came() {
        let mut sender = TrainSender::default();
        let mut kernel = Kernel::answering(&[None, Some(libc::EAGAIN)]);
        let sent = send(&mut sender, &mut kernel, 1000, 70_000).unwrap();
        assert_eq!(sent, SendOutcome::WouldBlock { sent_segments: 64 });
        let mut kernel = Kernel::answering(&[Some(libc::EIO), None, Some(libc::ENOBUFS)]);
        let sent = send(&mut sender, &mut kernel, 1000, 3000).unwrap();
        assert_eq!(sent, SendOutcome::NoBuffers { sent_segments: 1 });
    }

    #[test]
    fn the_oldest_refusing_address_is_forgotten_first() {
        let mut sender = TrainSender::default();
        let address = |n: usize| IpAddr::from([10, 0, 0, u8::try_from(n).unwrap()]);
        for n in 0..=REFUSING_ADDRESSES {
            sender.refuse(address(n));
        }
        assert!(!sender.refusing.contains(&Some(address(0))));
        assert!(sender.refusing.contains(&Some(address(1))));
        assert!(sender.refusing.contains(&Some(address(REFUSING_ADDRESSES))));
    }

    #[test]
    fn nothing_to_send_is_refused() {
        let (mut sender, mut kernel) = (TrainSender::default(), Kernel::answering(&[]));
        assert!(send(&mut sender, &mut kernel, 0, 10).is_err());
        assert!(send(&mut sender, &mut kernel, 10, 0).is_err());
        assert!(kernel.calls.is_empty());
    }
}
