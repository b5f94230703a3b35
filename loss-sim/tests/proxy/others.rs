//! Programs that nobody here wrote, through the proxy and over a link. A test whose program is missing is skipped, and
//! says so, unless `COLUMBA_REQUIRE_PROGRAM_TESTS=1` makes that a failure.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Running, program};
use crate::support::PATIENCE;

/// Whether these programs are here, each named with the Debian package that has it.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn have(programs: &[(&str, &str)]) -> bool {
    let required = std::env::var_os("COLUMBA_REQUIRE_PROGRAM_TESTS");
    let is_required = required.is_some_and(|value| value == "1");
    for (name, package) in programs {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_here = std::env::split_paths(&path).any(|folder| folder.join(name).exists());
        assert!(is_here || !is_required, "no {name} here: install {package}");
        if !is_here {
            eprintln!("SKIPPED: no {name} here (Debian package {package})");
            return false;
        }
    }
    true
}

/// A program that runs while a test does; killed when dropped.
struct Server(Child);

impl Server {
    /// Starts it and waits for a line of its output in which `find` finds something.
    fn start<T>(command: &mut Command, find: impl Fn(&str) -> Option<T>) -> Option<(Self, T)> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = Self(command.stderr(Stdio::null()).spawn().expect("it starts"));
        let stdout = server.0.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let found = lines.find_map(|line| find(&line.expect("a line")))?;
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.count());
        Some((server, found))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, in the ordinary case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy before a port of this machine, with a control socket.
fn proxy(port: u16, flags: &[&str]) -> Running {
    let mut command = program();
    command.args(["--upstream", &format!("127.0.0.1:{port}")]);
    command.args(["--control", "127.0.0.1:0", "--stats-json"]);
    Running::start(command.args(flags))
}

fn output(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

const IPERF: &[(&str, &str)] = &[("iperf3", "iperf3")];

/// An iperf3 server for one test, and its port. It can't be asked for any free port, so one is looked for.
fn iperf_server() -> (Server, u16) {
    let attempts = std::iter::repeat_with(|| {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = probe.local_addr().expect("bound").port();
        drop(probe);
        let mut command = Command::new("iperf3");
        command.args([
            "--server",
            "--one-off",
            "--forceflush",
            "--bind",
            "127.0.0.1",
        ]);
        command.args(["--port", &port.to_string()]);
        let (server, ()) = Server::start(&mut command, is_listening)?;
        Some((server, port))
    });
    attempts.take(10).flatten().next().expect("a free port")
}

fn is_listening(line: &str) -> Option<()> {
    line.contains("Server listening").then_some(())
}

fn iperf_client(port: u16, arguments: &[&str]) -> Value {
    let mut command = Command::new("iperf3");
    command.args([
        "--client",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--json",
    ]);
    json(&output(command.args(arguments)))
}

#[test]
fn iperf3_sees_the_datagrams_that_are_lost() {
    if !have(IPERF) {
        return;
    }
    let (_server, port) = iperf_server();
    // Not by chance: its first datagram, which it sends only once, must arrive.
    let proxy = proxy(port, &["--delay", "2ms", "--up-drop-nth", "10n"]);
    let arguments = [
        "--udp",
        "--bitrate",
        "10M",
        "--blockcount",
        "500",
        "--length",
        "1000",
    ];
    let seen = iperf_client(proxy.address.port(), &arguments);
    let stats = proxy.stop();
    let lost = stats["up"]["lost"].as_u64().expect("a counter");
    assert!(lost >= 50, "{stats}");
    // Its receiver may lose more, and does not see that the last one is missing.
    let seen = seen["end"]["sum"]["lost_packets"].as_u64();
    assert!(seen >= Some(lost - 1), "{seen:?} {stats}");
}

#[test]
fn iperf3_sends_a_stream_at_the_rate() {
    if !have(IPERF) {
        return;
    }
    let (_server, port) = iperf_server();
    let proxy = proxy(port, &["--delay", "2ms", "--rate", "50mbit"]);
    let start = Instant::now();
    let seen = iperf_client(proxy.address.port(), &["--time", "1"]);
    let received = seen["end"]["sum_received"]["bytes"].as_u64();
    let possible = start.elapsed().as_secs_f64() * 50e6 / 8.0;
    let received = received.expect("a number");
    assert!(received > 0 && received as f64 <= possible, "{seen}");
    let stats = proxy.stop();
    assert!(
        stats["up"]["stream_bytes"].as_u64() >= Some(received),
        "{stats}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn kernel_tcp_of_iperf3_retransmits_what_a_link_loses() {
    use columba_loss_sim::Impairments;
    use columba_loss_sim::ip_link::{IpLink, IpLinkConfig, Side};

    if !have(IPERF) || !crate::ip_link::can_link() {
        return;
    }
    let config = IpLinkConfig {
        up: Impairments {
            loss: 0.02,
            delay: Duration::from_millis(2),
            ..Impairments::default()
        },
        seed: 4,
        ..IpLinkConfig::default()
    };
    let link = IpLink::spawn(&config).expect("a link");
    let inside = |side: Side, arguments: &[&str]| {
        let mut command = program();
        command.args(["link", "exec", link.end(side).name(), "--", "iperf3"]);
        command.args(arguments);
        command
    };
    let mut server = inside(Side::Right, &["--server", "--one-off", "--forceflush"]);
    let (_server, ()) = Server::start(&mut server, is_listening).expect("nobody else is there");
    let address = link.end(Side::Right).ipv4().to_string();
    let arguments = ["--client", &address, "--bytes", "2M", "--json"];
    let seen = json(&output(&mut inside(Side::Left, &arguments)));
    assert!(
        seen["end"]["sum_sent"]["retransmits"].as_u64() > Some(0),
        "{seen}"
    );
    assert!(link.stop().expect("counters").up.lost > 0);
}

#[test]
fn curl_downloads_through_the_proxy() {
    if !have(&[("curl", "curl"), ("python3", "python3")]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let payload: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(folder.path().join("pigeon"), &payload).expect("written");
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]);
    command.current_dir(folder.path());
    let port = |line: &str| line.split(' ').nth(5)?.parse::<u16>().ok();
    let (_server, port) = Server::start(&mut command, port).expect("it tells its port");
    let flags = [
        "--delay",
        "10ms",
        "--down-rate",
        "10mbit",
        "--tcp-slice",
        "5%",
    ];
    let proxy = proxy(port, &flags);
    let start = Instant::now();
    let url = format!("http://{}/pigeon", proxy.address);
    let fetched = output(Command::new("curl").args(["--silent", "--show-error", "--fail", &url]));
    assert!(fetched.stdout == payload, "{} bytes", fetched.stdout.len());
    // At 10 Mbit/s, and a round trip each for the connection and the request.
    assert!(start.elapsed() > Duration::from_millis(240 + 20));
}

/// Answers so many DNS queries over UDP, all with one address.
fn name_server(socket: &UdpSocket, mut answers: u32) {
    const ANSWER: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 77];
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut query = [0; 1500];
    while answers > 0 {
        let (len, from) = socket.recv_from(&mut query).expect("a query");
        // Past the header, the labels of the name end with an empty one; type and class follow.
        let name = query.get(12..len).unwrap_or_default();
        let Some(end) = name.iter().position(|byte| *byte == 0) else {
            continue;
        };
        let mut answer = query[..12 + end + 5].to_vec();
        // An answer, with one record and nothing else beside the question.
        answer[2..4].copy_from_slice(&[0x85, 0x80]);
        answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        answer.extend(ANSWER);
        socket.send_to(&answer, from).expect("sent");
        answers -= 1;
    }
}

#[test]
fn dig_asks_again_when_its_query_is_lost() {
    if !have(&[("dig", "dnsutils")]) {
        return;
    }
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let upstream = socket.local_addr().expect("bound");
    let serving = std::thread::spawn(move || name_server(&socket, 2));
    let proxy = proxy(
        upstream.port(),
        &["--up-drop-nth", "1", "--down-drop-nth", "1"],
    );
    let port = proxy.address.port().to_string();
    let mut dig = Command::new("dig");
    dig.args([
        "@127.0.0.1",
        "-p",
        &port,
        "+time=1",
        "+tries=5",
        "+short",
        "nest.example",
    ]);
    let answer = output(&mut dig);
    // Before it, dig tells of the queries that had no answer.
    let said = String::from_utf8_lossy(&answer.stdout);
    assert_eq!(said.lines().last(), Some("192.0.2.77"));
    let stats = proxy.stop();
    assert_eq!(
        (&stats["up"]["lost"], &stats["up"]["packets"]),
        (&1.into(), &3.into())
    );
    // The first answer was lost too.
    assert_eq!(stats["down"]["lost"], 1);
    serving.join().expect("it answers");
}
