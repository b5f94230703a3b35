//! A flow of the kernel's TCP over a link, from right to left as files go.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use columba_loss_sim::ip_link::{Side, SpawnedIpLink};
use rustix::net::sockopt::set_tcp_congestion;

/// Bytes handed to the kernel at once.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long reading and writing may block before they look whether they are to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A flow that goes on until it is dropped.
#[derive(Debug)]
pub(crate) struct TcpFlow {
    received: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl TcpFlow {
    /// Starts one with this congestion control, if the kernel has it.
    pub(crate) fn start(link: &SpawnedIpLink, congestion: &'static str) -> Result<Self> {
        let (left, right) = (link.end(Side::Left), link.end(Side::Right));
        let address = right.ipv4();
        let listener = right
            .run_inside(|| TcpListener::bind((address, 0)))?
            .context("cannot listen at the link's end")?;
        // What a listener has, its connections have from the first packet on.
        set_tcp_congestion(&listener, congestion)
            .with_context(|| format!("this kernel has no {congestion}"))?;
        let to = listener.local_addr()?;
        let (received, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut flow = Self {
            received: Arc::clone(&received),
            is_over: Arc::clone(&is_over),
            threads: Vec::new(),
        };
        let over = Arc::clone(&is_over);
        flow.threads.push(thread::spawn(move || {
            if let Ok((stream, _)) = listener.accept() {
                send(&stream, &over);
            }
        }));
        let stream = left.run_inside(|| TcpStream::connect(to))?;
        let stream = stream.context("cannot connect over the link")?;
        flow.threads
            .push(thread::spawn(move || receive(&stream, &received, &is_over)));
        Ok(flow)
    }

    /// Bytes that have arrived.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for TcpFlow {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Whether a call may be tried again.
fn is_pause(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

fn send(stream: &TcpStream, is_over: &AtomicBool) {
    let block = vec![0x5a; BLOCK_BYTES];
    let mut writer = stream;
    // Without the timeout it ends when the other end does.
    let _ = stream.set_write_timeout(Some(LOOK_EVERY));
    while !is_over.load(Ordering::Relaxed) {
        match writer.write(&block) {
            Ok(_) => {}
            Err(error) if is_pause(error.kind()) => {}
            Err(_) => return,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn receive(stream: &TcpStream, received: &AtomicU64, is_over: &AtomicBool) {
    let mut block = vec![0; BLOCK_BYTES];
    let mut reader = stream;
    let _ = stream.set_read_timeout(Some(LOOK_EVERY));
    while !is_over.load(Ordering::Relaxed) {
        match reader.read(&mut block) {
            Ok(0) => return,
            Ok(count) => {
                received.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if is_pause(error.kind()) => {}
            Err(_) => return,
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// The kernel's counters of TCP at an end: segments sent, of them again, and acknowledgements that told of segments
/// received twice (RFC 2883), so that sending them again was needless.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Segments {
    pub(crate) sent: u64,
    pub(crate) again: u64,
    pub(crate) needless: u64,
}

impl Segments {
    /// At the end that sends.
    pub(crate) fn of(link: &SpawnedIpLink) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/thread-self/net/{file}");
            let text = link
                .end(Side::Right)
                .run_inside(|| std::fs::read_to_string(path))?;
            text.with_context(|| format!("cannot read the kernel's counters in {file}"))
        };
        let (snmp, netstat) = (read("snmp")?, read("netstat")?);
        let again = counter(&snmp, "Tcp", "RetransSegs");
        Ok(Self {
            // The kernel counts what is sent again apart.
            sent: counter(&snmp, "Tcp", "OutSegs") + again,
            again,
            needless: counter(&netstat, "TcpExt", "TCPDSACKRecv"),
        })
    }
}

/// A counter of `/proc/net/snmp` or `netstat`: a line of names and one of values for each group; 0 if there is none.
fn counter(text: &str, group: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut line = || lines.find(|(found, _)| *found == group);
    let (Some((_, names)), Some((_, values))) = (line(), line()) else {
        return 0;
    };
    let mut pairs = names.split(' ').zip(values.split(' '));
    let value = pairs.find(|(found, _)| *found == name);
    value.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_group_and_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: A OutSegs\nTcp: 3 4\n";
        assert_eq!(counter(text, "Tcp", "OutSegs"), 4);
        assert_eq!(counter(text, "Ip", "B"), 2);
        assert_eq!(counter(text, "Udp", "A"), 0);
        assert_eq!(counter(text, "Tcp", "C"), 0);
    }
}
