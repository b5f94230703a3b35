//! Every impairment by its flag, through the program, on datagrams of a real client.

use serde_json::Value;

use crate::program::{Running, program};
use crate::support::{EchoServer, udp_client};

const DATAGRAMS: u64 = 50;
const BYTES: usize = 200;

/// Sends datagrams through a proxy with these flags and gives its counters. The sender can take ECN marks.
fn relayed(flags: &[&str]) -> Value {
    let server = EchoServer::start();
    let upstream = server.address.to_string();
    let mut command = program();
    command.args(["--upstream", &upstream, "--seed", "3", "--stats-json"]);
    command.args(["--control", "127.0.0.1:0"]).args(flags);
    let proxy = Running::start(&mut command);
    let client = udp_client(proxy.address);
    let ecn_capable = 0b10;
    let socket = socket2::SockRef::from(&client);
    socket.set_tos_v4(ecn_capable).expect("a codepoint");
    for _ in 0..DATAGRAMS {
        client.send(&[0; BYTES]).expect("sent");
    }
    proxy.wait_for(|stats| stats["up"]["packets"] == DATAGRAMS && stats["up"]["queued"] == 0);
    proxy.stop()
}

fn count(stats: &Value, direction: &str, counter: &str) -> u64 {
    stats[direction][counter].as_u64().expect("a counter")
}

#[test]
fn each_flag_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    std::fs::write(&trace, "1\n2\n").expect("written");
    let trace = trace.to_str().expect("UTF-8");
    for (flags, counter, least) in [
        (&["--up-loss", "100%"][..], "lost", DATAGRAMS),
        (&["--up-burst-loss", "50%,10%"], "lost", 10),
        (&["--up-drop-nth", "1,7-9,5n"], "lost", 14),
        (&["--up-max-datagram", "199"], "oversize", DATAGRAMS),
        (&["--up-duplicate", "100%"], "duplicated", DATAGRAMS),
        (&["--up-truncate", "100%"], "truncated", DATAGRAMS),
        (&["--up-corrupt", "100%"], "corrupted", DATAGRAMS),
        (&["--up-blackhole", "0s,60s"], "blackholed", DATAGRAMS),
        (&["--up-ecn-mark", "100%"], "ecn_marked", DATAGRAMS),
        (&["--up-reorder", "50%,50ms"], "reordered", 1),
        (
            &["--up-rate", "1mbit", "--up-queue", "500"],
            "queue_drops",
            40,
        ),
        (
            &["--up-rate", "1mbit", "--up-overhead", "100"],
            "queue_us",
            1,
        ),
        (
            &["--up-trace", trace, "--up-queue", "500"],
            "queue_drops",
            10,
        ),
        (&["--up-delay", "5ms"], "delivered", DATAGRAMS),
        (
            &["--up-loss", "100%", "--up-max-burst", "1"],
            "delivered",
            25,
        ),
    ] {
        let stats = relayed(flags);
        let counted = count(&stats, "up", counter);
        assert!(counted >= least, "{flags:?}: {stats}");
        // The way back is as it was.
        assert_eq!(count(&stats, "down", "lost"), 0, "{flags:?}: {stats}");
    }
}

#[test]
fn every_distribution_of_jitter_keeps_the_order() {
    for distribution in ["uniform", "normal", "pareto"] {
        let stats = relayed(&[
            "--up-delay",
            "10ms",
            "--up-jitter",
            "5ms",
            "--up-distribution",
            distribution,
        ]);
        assert_eq!(count(&stats, "up", "delivered"), DATAGRAMS, "{stats}");
        assert_eq!(count(&stats, "up", "reordered"), 0, "{stats}");
    }
}

/// As root, the program is run as somebody else; otherwise all these tests show it.
#[cfg(unix)]
#[test]
fn no_privileges_are_needed() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let everyone = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everyone).expect("allowed");
    let copy = folder.path().join("columba-loss-sim");
    // By another process: a file that is open for writing here would be so in whatever another test starts meanwhile,
    // and could not be run (ETXTBSY).
    let mut copying = Command::new("cp");
    copying.args([Path::new(env!("CARGO_BIN_EXE_columba-loss-sim")), &copy]);
    assert!(copying.status().expect("cp runs").success());
    let server = EchoServer::start();
    let mut command = Command::new(&copy);
    command.uid(NOBODY).gid(NOBODY).current_dir(folder.path());
    command.args(["--upstream", &server.address.to_string()]);
    let proxy = Running::start(&mut command);
    let client = udp_client(proxy.address);
    client.send(b"coo").expect("sent");
    assert_eq!(crate::support::receive(&client), b"coo");
}
