//! Measures the window as a person meets it, under Xvfb and openbox: how soon it is there, what memory
//! and time it takes while nothing happens, and how long after a key its letter stands on the screen,
//! quiet and beside a download at full speed. The screen is read where Xvfb keeps it, so that looking
//! costs the window nothing.
//!
//! `cargo build --release -p columba-client && cargo run --release -p columba-client --example figures`
#![expect(clippy::unwrap_used, reason = "a tool ends with its first failure")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    missing_docs,
    clippy::print_stdout,
    reason = "a tool with small numbers"
)]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use columba_client::engine::Engine;
use columba_client::engine::message::{
    CONNECT_FOR, EngineConfig, Event, Security, TransferOptions, Trust,
};
use columba_client::keys;
use columba_client::known_servers::KnownServers;
use columba_client::places::{ServerName, StateFolder};
use columba_client::storage::memory::MemoryStorage;
use columba_server::Server;
use columba_server::config::Config;

const SCREEN: (usize, usize) = (1280, 800);
/// Nothing here takes so long.
const HANG: Duration = Duration::from_secs(30);
/// How often the screen is looked at.
const LOOK_EVERY: Duration = Duration::from_micros(250);
const STARTS: usize = 10;
const KEYS: usize = 60;
/// A letter is wider than the cursor, which may blink meanwhile.
const LETTER: usize = 4;
/// Links to one file, so that there is always something to download.
const FILES: usize = 60;
const FILE_BYTES: usize = 500_000_000;

/// A process that ends with this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A screen of its own, and hands for it.
struct Desk {
    name: String,
    pixels: File,
    hands: ChildStdin,
    _processes: Vec<Running>,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Command::new("Xvfb")
            .args(["-displayfd", "1", "-nolisten", "tcp", "-screen", "0"])
            .arg(format!("{}x{}x24", SCREEN.0, SCREEN.1))
            .arg("-fbdir")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut number)
            .unwrap();
        let name = format!(":{}", number.trim());
        let mut processes = vec![Running(server)];
        processes.push(Running(on(&name, "openbox").spawn().unwrap()));
        let mut hands = on(&name, "xdotool")
            .arg("-")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = hands.stdin.take().unwrap();
        processes.push(Running(hands));
        let pixels = File::open(folder.path().join("Xvfb_screen0")).unwrap();
        let desk = Self {
            name,
            pixels,
            hands: stdin,
            _processes: processes,
            _folder: folder,
        };
        desk.ask(&["get_num_desktops"]);
        desk
    }

    /// Asks until there is an answer.
    fn ask(&self, arguments: &[&str]) -> String {
        let end = Instant::now() + HANG;
        loop {
            let mut command = on(&self.name, "xdotool");
            let output = command.args(arguments).stdout(Stdio::piped()).output();
            let output = output.unwrap();
            if output.status.success() && !output.stdout.is_empty() {
                return String::from_utf8(output.stdout).unwrap();
            }
            assert!(Instant::now() < end, "{arguments:?} gives no answer");
            sleep(Duration::from_millis(20));
        }
    }

    fn does(&mut self, line: &str) {
        writeln!(self.hands, "{line}").unwrap();
        self.hands.flush().unwrap();
    }

    /// The pixels of a part of the screen, row by row.
    fn see(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> Vec<u32> {
        // An XWD header: big-endian words; 0 its size, 12 bytes per row, 19 colours of 12 bytes.
        let mut header = [0; 80];
        self.pixels.read_exact_at(&mut header, 0).unwrap();
        let word = |index: usize| {
            let bytes = header[index * 4..index * 4 + 4].try_into().unwrap();
            u32::from_be_bytes(bytes) as usize
        };
        let (start, pitch) = (word(0) + word(19) * 12, word(12));
        let mut row = vec![0; width * 4];
        let mut seen = Vec::with_capacity(width * height);
        for line in y..y + height {
            let at = start + line * pitch + x * 4;
            self.pixels.read_exact_at(&mut row, at as u64).unwrap();
            let pixels = row.chunks_exact(4);
            seen.extend(pixels.map(|bytes| u32::from_ne_bytes(bytes.try_into().unwrap())));
        }
        seen
    }

    /// Whether a window with text stands on the screen: many shades.
    fn shows_text(&self) -> bool {
        let mut colors = self.see((SCREEN.0 / 4, SCREEN.1 / 4), (SCREEN.0 / 2, SCREEN.1 / 2));
        colors.sort_unstable();
        colors.dedup();
        colors.len() > 24
    }
}

fn on(display: &str, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DISPLAY", display)
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + HANG;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what}");
        sleep(LOOK_EVERY);
    }
}

/// The program that was built beside this one.
fn columba() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let program = folder.join("columba");
    assert!(program.is_file(), "build {} first", program.display());
    program
}

/// A window that is on its way.
fn open(desk: &Desk, state: &Path, server: Option<&str>, downloads: &Path) -> Running {
    let mut command = on(&desk.name, columba().to_str().unwrap());
    command.arg("--state").arg(state);
    if let Some(server) = server {
        command.args(["-s", server, "-n", "alice"]);
    }
    command.args(["gui", "--forget", "--downloads"]);
    Running(command.arg(downloads).spawn().unwrap())
}

/// Another client, that hears when somebody comes and goes.
fn listener(server: &str, state: &Path) -> Engine {
    let own = StateFolder::choose(Some(state)).unwrap();
    let config = EngineConfig {
        server: ServerName::parse(server).unwrap(),
        security: Security::Tls {
            identity: keys::load_or_create(&own.key()).unwrap(),
            trust: Trust::FirstUse(KnownServers::at(own.known_servers())),
        },
        password: "".into(),
        name: Some("listener".to_owned()),
        storage: std::sync::Arc::new(MemoryStorage::dropping()),
        transfer: TransferOptions::default(),
        reconnect: false,
        connect_for: CONNECT_FOR,
    };
    Engine::start(config, Vec::new()).unwrap()
}

fn hears(ear: &Engine, what: impl Fn(&Event) -> bool) {
    while !what(&ear.events().recv_timeout(HANG).unwrap()) {}
}

fn named(names: &[String]) -> bool {
    names.iter().any(|name| name == "alice")
}

/// CPU time of a process, all its threads.
fn cpu(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanos = tasks.map(|task| {
        let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        let first = stat.split(' ').next().unwrap();
        first.parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

fn memory(when: &str, process: u32) {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let value = |name: &str| -> f64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim().trim_end_matches(" kB").trim();
        kib.parse::<f64>().unwrap() / 1024.0
    };
    println!(
        "memory {when}: {:.1} MiB resident, {:.1} MiB of it its own share (PSS)",
        value("Rss:"),
        value("Pss:")
    );
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let of = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    println!(
        "{what}: p50 {:.1} ms, p95 {:.1} ms, max {:.1} ms ({} times)",
        of(50).as_secs_f64() * 1e3,
        of(95).as_secs_f64() * 1e3,
        of(100).as_secs_f64() * 1e3,
        times.len()
    );
}

fn starts(desk: &Desk, ear: &Engine, server: &str, state: &Path, downloads: &Path) {
    let (mut drawn, mut connected) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let started = Instant::now();
        let window = open(desk, state, None, downloads);
        within("no window", || desk.shows_text().then_some(()));
        drawn.push(started.elapsed());
        drop(window);
        within("it stays", || (!desk.shows_text()).then_some(()));
    }
    for _ in 0..STARTS {
        let started = Instant::now();
        let window = open(desk, state, Some(server), downloads);
        hears(
            ear,
            |event| matches!(event, Event::Presence { joined, .. } if named(joined)),
        );
        connected.push(started.elapsed());
        within("no window", || desk.shows_text().then_some(()));
        drop(window);
        hears(
            ear,
            |event| matches!(event, Event::Presence { left, .. } if named(left)),
        );
        within("it stays", || (!desk.shows_text()).then_some(()));
    }
    tell("process start to first frame", drawn);
    tell("process start to others seeing us in the chat", connected);
}

fn idle(what: &str, process: u32, seconds: u64) {
    let (before, started) = (cpu(process), Instant::now());
    sleep(Duration::from_secs(seconds));
    let (used, time) = (cpu(process) - before, started.elapsed());
    println!(
        "{what}: {:.1} ms of CPU in {:.0} s, {:.3} % of a core",
        used.as_secs_f64() * 1e3,
        time.as_secs_f64(),
        used.as_secs_f64() / time.as_secs_f64() * 100.0
    );
}

/// How long after a key its letter stands on the screen; `line` is where the line is typed.
fn typing(desk: &mut Desk, line: (usize, usize)) -> Vec<Duration> {
    let size = (360, 24);
    let mut times = Vec::new();
    for key in 0..KEYS {
        if key % 20 == 0 {
            desk.does("key ctrl+a BackSpace");
        }
        // Not in step with anything that is drawn regularly.
        sleep(Duration::from_millis(230 + (key as u64 * 37) % 110));
        let before = desk.see(line, size);
        let pressed = Instant::now();
        desk.does("key m");
        within("no letter comes", || {
            let now = desk.see(line, size);
            let changed = (0..size.0)
                .filter(|x| (0..size.1).any(|y| before[y * size.0 + x] != now[y * size.0 + x]));
            (changed.count() >= LETTER).then_some(())
        });
        times.push(pressed.elapsed());
    }
    desk.does("key ctrl+a BackSpace");
    times
}

/// Takes files away as they come, so that the disk does not fill.
fn clear(folder: &Path) -> u64 {
    let mut bytes = 0;
    for file in std::fs::read_dir(folder).unwrap().flatten() {
        let whole = file.path().extension().is_some_and(|end| end == "bin");
        if whole && let Ok(about) = file.metadata() {
            bytes += about.len();
            std::fs::remove_file(file.path()).unwrap();
        }
    }
    bytes
}

fn loaded(desk: &mut Desk, process: u32, line: (usize, usize), downloads: &Path) {
    desk.does("type /get many");
    desk.does("key Return");
    sleep(Duration::from_secs(3));
    clear(downloads);
    let (before, started) = (cpu(process), Instant::now());
    let done = std::sync::atomic::AtomicBool::new(false);
    let (times, bytes) = std::thread::scope(|scope| {
        let clearing = scope.spawn(|| {
            let mut bytes = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                bytes += clear(&downloads.join("many"));
                sleep(Duration::from_millis(200));
            }
            bytes
        });
        let times = typing(desk, line);
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        (times, clearing.join().unwrap())
    });
    let (used, time) = (cpu(process) - before, started.elapsed());
    tell("key to letter beside a download at full speed", times);
    println!(
        "meanwhile {:.0} MB/s came, by {:.2} cores of the window's process",
        bytes as f64 / 1e6 / time.as_secs_f64(),
        used.as_secs_f64() / time.as_secs_f64()
    );
    memory("while it downloads", process);
}

fn main() {
    let work = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let folder = work.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (share, state, downloads) = (folder("share"), folder("state"), folder("downloads"));
    let many = folder("share/many");
    std::fs::write(many.join("00.bin"), vec![0x5a; FILE_BYTES]).unwrap();
    for number in 1..FILES {
        std::fs::hard_link(many.join("00.bin"), many.join(format!("{number:02}.bin"))).unwrap();
    }
    let mut config = Config::for_tests(&share);
    config.state_dir = Some(folder("server"));
    let server = Server::spawn(&config).unwrap();
    let address = server.address().to_string();
    let mut desk = Desk::new();
    let ear = listener(&address, &folder("listener"));
    hears(&ear, |event| matches!(event, Event::Welcome { .. }));
    starts(&desk, &ear, &address, &state, &downloads);

    let window = open(&desk, &state, Some(&address), &downloads);
    let process = window.0.id();
    within("no window", || desk.shows_text().then_some(()));
    sleep(Duration::from_secs(2));
    let id = desk.ask(&["search", "--onlyvisible", "--name", "Columba"]);
    let id = id.lines().next_back().unwrap().trim().to_owned();
    desk.does(&format!("windowactivate {id}"));
    let geometry = desk.ask(&["getwindowgeometry", "--shell", &id]);
    let value = |name: &str| -> usize {
        let line = geometry.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse().unwrap()
    };
    let (left, bottom) = (value("X="), value("Y=") + value("HEIGHT="));
    memory("online", process);
    let quiet = typing(&mut desk, (left + 240, bottom - 84));
    tell("key to letter, quiet", quiet);
    desk.does("key Left");
    idle("idle, the cursor blinking", process, 9);
    sleep(Duration::from_secs(2));
    idle("idle, the cursor still", process, 60);
    desk.does(&format!("windowminimize {id}"));
    sleep(Duration::from_secs(1));
    idle("idle, minimised", process, 10);
    desk.does(&format!("windowactivate {id}"));
    sleep(Duration::from_secs(1));
    loaded(&mut desk, process, (left + 240, bottom - 384), &downloads);
}
