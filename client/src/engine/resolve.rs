//! Names to addresses, on a thread of its own: the system's resolver blocks.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use crate::places::ServerName;
use crate::storage::verify::Notify;

/// Asks for all addresses of `server`; `notify` is called when the answer is there.
pub(super) fn resolve(
    server: &ServerName,
    notify: &Notify,
) -> io::Result<Receiver<io::Result<Vec<SocketAddr>>>> {
    let (answer, answers) = sync_channel(1);
    let (host, port) = (server.host.clone(), server.port);
    let notify = Arc::clone(notify);
    std::thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(|found| {
                let mut addresses: Vec<SocketAddr> = Vec::new();
                for address in found {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                alternate(&addresses)
            });
            // Nobody waits any more when the engine has ended meanwhile.
            let _ = answer.send(addresses);
            notify();
        })?;
    Ok(answers)
}

/// The families in turn, beginning with the one the system prefers (RFC 8305, section 4): a family
/// that leads nowhere costs one attempt.
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == preferred);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(first.next());
        mixed.extend(second.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = |names: &[&str]| -> Vec<SocketAddr> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let mixed = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternate(&found), mixed);
        let mixed = addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(
            alternate(&addresses(&["1.1.1.1:1", "[::1]:1", "[::2]:1"])),
            mixed
        );
        assert_eq!(alternate(&[]), []);
    }

    #[test]
    fn addresses_resolve_to_themselves() {
        let notify: Notify = Arc::new(|| ());
        let server = ServerName::parse("127.0.0.1:9").unwrap();
        let answer = resolve(&server, &notify).unwrap().recv().unwrap().unwrap();
        assert_eq!(answer, ["127.0.0.1:9".parse().unwrap()]);
    }
}
