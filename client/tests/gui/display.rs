//! A real window on a real (virtual) display, with real keys and a real mouse. Skipped with a reason
//! where its programs are missing, unless `COLUMBA_REQUIRE_DISPLAY_TESTS=1`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use columba_client::engine::Engine;
use columba_client::engine::message::{
    CONNECT_FOR, EngineConfig, Event, Security, TransferOptions,
};
use columba_client::places::ServerName;
use columba_client::storage::memory::MemoryStorage;
use columba_server::Server;
use columba_server::config::Config;

/// A test that hangs shall fail rather than hang.
const HANG: Duration = Duration::from_secs(120);
const PROGRAMS: [&str; 4] = ["Xvfb", "xdotool", "import", "openbox"];

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn missing() -> Vec<&'static str> {
    let there = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    PROGRAMS.into_iter().filter(|name| !there(name)).collect()
}

struct Display {
    name: String,
    manager: Running,
    _server: Running,
}

/// Without a window manager keys go nowhere.
fn manager(display: &str) -> Running {
    let mut command = Command::new("openbox");
    command.env("DISPLAY", display);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

impl Display {
    /// A display of its own, whose number the X server picks.
    fn start() -> Self {
        let mut server = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "1280x800x24",
                "-nolisten",
                "tcp",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap())
            .read_line(&mut number)
            .unwrap();
        let name = format!(":{}", number.trim());
        let mut display = Self {
            manager: manager(&name),
            name,
            _server: Running(server),
        };
        display.wait_for_manager();
        display
    }

    /// A window that opens while the manager starts may stay hidden.
    fn wait_for_manager(&mut self) {
        let end = Instant::now() + HANG;
        while !self.answers(&["get_num_desktops"]) {
            assert!(Instant::now() < end, "the window manager does not start");
            // It gives up when other X servers that start now keep it from its display for a moment.
            if self.manager.0.try_wait().unwrap().is_some() {
                self.manager = manager(&self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn answers(&self, arguments: &[&str]) -> bool {
        let output = self.command("xdotool").args(arguments).output().unwrap();
        output.status.success() && !output.stdout.is_empty()
    }

    /// Asks until there is an answer: another process's progress has no event to wait for.
    fn until(&self, arguments: &[&str]) -> String {
        let end = Instant::now() + HANG;
        loop {
            let output = self.command("xdotool").args(arguments).output().unwrap();
            if output.status.success() && !output.stdout.is_empty() {
                return String::from_utf8(output.stdout).unwrap();
            }
            assert!(Instant::now() < end, "{arguments:?} gives no answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("DISPLAY", &self.name)
            .env_remove("WAYLAND_DISPLAY");
        command
    }

    fn xdotool(&self, arguments: &[&str]) -> String {
        let output = self.command("xdotool").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn pictured(&self, to: &Path) {
        let done = self
            .command("import")
            .args(["-window", "root"])
            .arg(to)
            .status()
            .unwrap();
        assert!(done.success());
    }
}

/// Another client, that hears what the window says.
fn listener(server: &str) -> Engine {
    let config = EngineConfig {
        server: ServerName::parse(server).unwrap(),
        security: Security::Plaintext,
        password: "".into(),
        name: Some("listener".to_owned()),
        storage: std::sync::Arc::new(MemoryStorage::dropping()),
        transfer: TransferOptions::default(),
        reconnect: false,
        connect_for: CONNECT_FOR,
    };
    Engine::start(config, Vec::new()).unwrap()
}

fn until(engine: &Engine, what: impl Fn(&Event) -> bool) {
    let end = Instant::now() + HANG;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let event = engine.events().recv_timeout(left).unwrap();
        assert!(!matches!(event, Event::Ended(_)), "{event:?}");
        if what(&event) {
            return;
        }
    }
}

#[test]
fn a_real_window_takes_keys_and_mouse() {
    let missing = missing();
    if !missing.is_empty() {
        let required =
            std::env::var("COLUMBA_REQUIRE_DISPLAY_TESTS").is_ok_and(|value| value == "1");
        assert!(!required, "these programs are missing: {missing:?}");
        let _ = writeln!(
            std::io::stderr(),
            "skipped: these programs are missing: {missing:?}"
        );
        return;
    }
    let (share, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let downloads = tempfile::tempdir().unwrap();
    std::fs::write(share.path().join("notes.txt"), "a few notes\n").unwrap();
    let mut config = Config::for_tests(share.path());
    config.plaintext = true;
    let server = Server::spawn(&config).unwrap();
    let address = server.address().to_string();
    let ear = listener(&address);
    until(&ear, |event| matches!(event, Event::Welcome { .. }));
    let display = Display::start();
    let window = display
        .command(env!("CARGO_BIN_EXE_columba"))
        .args(["-s", &address, "-n", "alice", "--plaintext", "--state"])
        .arg(state.path())
        .args(["gui", "--forget", "--downloads"])
        .arg(downloads.path())
        .env("ICED_BACKEND", "tiny-skia")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut window = Running(window);
    until(
        &ear,
        |event| matches!(event, Event::Presence { joined, .. } if joined.iter().any(|name| name == "alice")),
    );
    let id = display.until(&["search", "--onlyvisible", "--name", "Columba"]);
    let id = id.lines().next_back().unwrap().trim().to_owned();
    display.xdotool(&["windowactivate", "--sync", &id]);

    // Keys: the line has the focus from the start.
    display.xdotool(&["type", "--delay", "15", "hello by keyboard"]);
    display.xdotool(&["key", "Return"]);
    until(
        &ear,
        |event| matches!(event, Event::Message { text, .. } if text == "hello by keyboard"),
    );

    // Mouse: the middle of the line, then words and Enter.
    let geometry = display.xdotool(&["getwindowgeometry", "--shell", &id]);
    let value = |name: &str| -> u32 {
        let line = geometry
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.parse().unwrap()
    };
    let (width, height) = (value("WIDTH="), value("HEIGHT="));
    let (x, y) = ((width / 2 - 60).to_string(), (height - 75).to_string());
    display.xdotool(&["mousemove", "--window", &id, &x, &y, "click", "1"]);
    display.xdotool(&["type", "--delay", "15", "/get notes.txt"]);
    display.xdotool(&["key", "Return"]);
    let target = downloads.path().join("notes.txt");
    let end = Instant::now() + HANG;
    while !target.exists() {
        assert!(Instant::now() < end, "the file never came");
        assert!(
            window.0.try_wait().unwrap().is_none(),
            "the window has ended"
        );
        // Another process's progress on disk has no event to wait for.
        std::thread::sleep(Duration::from_millis(10));
    }
    let picture = state.path().join("window.png");
    display.pictured(&picture);
    assert!(
        std::fs::metadata(&picture).unwrap().len() > 10_000,
        "the window is not blank"
    );

    // Ctrl+Shift+D is Disconnect.
    display.xdotool(&["key", "ctrl+shift+d"]);
    until(
        &ear,
        |event| matches!(event, Event::Presence { left, .. } if left.iter().any(|name| name == "alice")),
    );
}
