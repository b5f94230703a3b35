//! The program `columba` against a real server, through real loss: what the project promises, end to end.
#![expect(clippy::unwrap_used, reason = "a test ends with its first failure")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use columba_loss_sim::proxy::{Proxy, ProxyConfig, SpawnedProxy};
use columba_loss_sim::{Impairments, Reorder};
use columba_server::config::Config;
use columba_server::{Server, ServerHandle};

const MIB: usize = 1 << 20;
/// A test that hangs shall fail rather than hang; nothing here takes nearly as long.
const HANG: Duration = Duration::from_secs(240);

/// A server on a folder, and state for its clients.
struct Rig {
    share: tempfile::TempDir,
    target: tempfile::TempDir,
    state: tempfile::TempDir,
    server: ServerHandle,
    plaintext: bool,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let share = tempfile::tempdir().unwrap();
        Self::sharing(share, change)
    }

    fn sharing(share: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::for_tests(share.path());
        change(&mut config);
        Self {
            server: Server::spawn(&config).unwrap(),
            share,
            target: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
            plaintext: config.plaintext,
        }
    }

    /// A relay in front of the server, the same impairments both ways.
    fn behind(&self, impairments: &Impairments) -> SpawnedProxy {
        let mut config = ProxyConfig::new(self.server.address());
        config.up = impairments.clone();
        config.down = impairments.clone();
        config.seed = 7;
        Proxy::spawn(&config).unwrap()
    }

    fn columba(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_columba"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("COLUMBA_")) {
            command.env_remove(name);
        }
        command
            .args(["-s", server])
            .arg("--state")
            .arg(self.state.path());
        if self.plaintext {
            command.arg("--plaintext");
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn get(&self, server: &str, names: &[&str], target: &Path) -> Command {
        let mut command = self.columba(server, &["get", "--json"]);
        command.args(names).arg("-o").arg(target);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }
}

/// Bytes that differ everywhere, the same for the same seed.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut data = vec![0; size];
    blake3::Hasher::new()
        .update(&seed.to_be_bytes())
        .finalize_xof()
        .fill(&mut data);
    data
}

/// The files below a folder with their hashes, sorted.
fn tree(folder: &Path) -> Vec<(PathBuf, u64, blake3::Hash)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let data = std::fs::read(&path).unwrap();
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                found.push((name, data.len() as u64, blake3::hash(&data)));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn assert_code(output: &Output, code: i32, reason: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(reason), "`{reason}` is not in: {errors}");
}

/// Waits for a condition of another process; there is no event to wait for.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn bad_path() -> Impairments {
    Impairments {
        loss: 0.30,
        corrupt: 0.01,
        duplicate: 0.01,
        reorder: Some(Reorder {
            probability: 0.01,
            delay: Duration::from_millis(3),
        }),
        delay: Duration::from_millis(2),
        ..Impairments::default()
    }
}

#[test]
fn awkward_files_survive_a_third_lost_and_some_damaged() {
    for plaintext in [false, true] {
        let rig = Rig::new(|config| config.plaintext = plaintext);
        let cell = 288;
        let packet = 5 * cell;
        let sizes = [
            0,
            1,
            cell - 1,
            cell,
            cell + 1,
            packet - 1,
            packet,
            packet + 1,
            MIB - 1,
            MIB,
            MIB + 1,
        ];
        let folder = rig.share.path().join("with spaces/und Ümläuten/日本");
        std::fs::create_dir_all(&folder).unwrap();
        for (seed, size) in (0_u64..).zip(sizes) {
            std::fs::write(
                folder.join(format!("{size} bytes.bin")),
                content(size, seed),
            )
            .unwrap();
        }
        let proxy = rig.behind(&bad_path());
        let server = proxy.address().to_string();
        let output = rig
            .get(
                &server,
                &["with spaces", "--max-datagram", "1472"],
                rig.target.path(),
            )
            .output()
            .unwrap();
        assert_code(&output, 0, "");
        assert_eq!(
            tree(rig.target.path()),
            tree(rig.share.path()),
            "plaintext: {plaintext}"
        );
        let report = proxy.stop().unwrap();
        assert!(
            report.down.lost > 100 && report.down.corrupted > 5,
            "{report:?}"
        );
        assert!(report.up.lost > 5, "{report:?}");
    }
}

#[test]
fn a_thousand_small_files_come_in_one_association() {
    let rig = Rig::new(|_| {});
    for index in 0..1000_u64 {
        let name = format!("small/{:02}/{index}.bin", index % 20);
        let path = rig.share.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content(4096, index)).unwrap();
    }
    let proxy = rig.behind(&Impairments {
        loss: 0.05,
        delay: Duration::from_millis(20),
        ..Impairments::default()
    });
    let server = proxy.address().to_string();
    let output = rig
        .get(&server, &["small"], rig.target.path())
        .output()
        .unwrap();
    assert_code(&output, 0, "");
    assert_eq!(lines(&output).len(), 1000);
    assert_eq!(tree(rig.target.path()), tree(rig.share.path()));
    let stats = rig
        .columba(&rig.address(), &["stats", "--json"])
        .output()
        .unwrap();
    let stats = &lines(&stats)[0];
    assert_eq!(stats["transfers"]["opened"], 1, "{stats}");
}

#[test]
fn a_killed_download_goes_on_with_what_it_had() {
    let rig = Rig::new(|_| {});
    std::fs::write(rig.share.path().join("big.bin"), content(24 * MIB, 1)).unwrap();
    let proxy = rig.behind(&Impairments {
        loss: 0.02,
        delay: Duration::from_millis(5),
        rate_bits_per_second: Some(60_000_000),
        ..Impairments::default()
    });
    let server = proxy.address().to_string();
    let mut first = rig
        .get(&server, &["big.bin"], rig.target.path())
        .spawn()
        .unwrap();
    until("two thirds of the file on the way", || {
        proxy.stats().down.bytes > 16 * MIB as u64
    });
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(
        !rig.target.path().join("big.bin").exists(),
        "no partial file under the final name"
    );

    let output = rig
        .get(&server, &["big.bin"], rig.target.path())
        .output()
        .unwrap();
    assert_code(&output, 0, "");
    let report = &lines(&output)[0];
    assert!(report["resumed_bytes"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(
        tree(rig.target.path()),
        tree(rig.share.path()),
        "and nothing is left over"
    );
}

#[test]
fn two_hundred_talk_while_twenty_download() {
    let rig = Rig::new(|_| {});
    std::fs::write(rig.share.path().join("big.bin"), content(6 * MIB, 2)).unwrap();
    let server = rig.address();
    let swarm = ["swarm", "200", "--rate", "150", "--seconds", "4", "--json"];
    let swarm = rig
        .columba(&server, &swarm)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let downloads: Vec<(PathBuf, Child)> = (0..20)
        .map(|index| {
            let target = rig.target.path().join(index.to_string());
            std::fs::create_dir(&target).unwrap();
            let child = rig.get(&server, &["big.bin"], &target).spawn().unwrap();
            (target, child)
        })
        .collect();
    let source = tree(rig.share.path());
    for (target, child) in downloads {
        assert_code(&child.wait_with_output().unwrap(), 0, "");
        assert_eq!(tree(&target), source);
    }
    let output = swarm.wait_with_output().unwrap();
    assert_code(&output, 0, "");
    let done = lines(&output)
        .into_iter()
        .find(|line| line["event"] == "done")
        .unwrap();
    assert_eq!(done["delivered"], done["expected"], "{done}");
    let (sent, delivered) = (
        done["sent"].as_u64().unwrap(),
        done["delivered"].as_u64().unwrap(),
    );
    assert!(sent > 300 && delivered == sent * 200, "{done}");
}

#[test]
fn refusals_have_their_exit_code_and_say_what_to_do() {
    let secrets = tempfile::tempdir().unwrap();
    let password = secrets.path().join("password");
    std::fs::write(&password, "pigeon\n").unwrap();
    let wrong = secrets.path().join("wrong");
    std::fs::write(&wrong, "crow\n").unwrap();
    let rig = Rig::new(|config| config.password_file = Some(password.clone()));
    let server = rig.address();
    let with = |file: &Path, arguments: &[&str]| {
        let mut all = vec!["--password-file", file.to_str().unwrap()];
        all.extend(arguments);
        rig.columba(&server, &all).output().unwrap()
    };
    assert_code(
        &rig.columba(&server, &["ls"]).output().unwrap(),
        4,
        "password",
    );
    assert_code(&with(&wrong, &["ls"]), 4, "password");
    assert_code(&with(&password, &["ls"]), 0, "");
    assert_code(&with(&password, &["get", "nothing.bin"]), 5, "nothing.bin");
    assert_code(
        &with(&password, &["-n", "two words", "say", "x"]),
        4,
        "one word",
    );
    // A name belongs to the first key that used it.
    assert_code(&with(&password, &["-n", "alice", "say", "hello"]), 0, "");
    let other = tempfile::tempdir().unwrap();
    let mut stranger = Command::new(env!("CARGO_BIN_EXE_columba"));
    stranger
        .args(["-s", &server, "--state"])
        .arg(other.path())
        .args(["--password-file", password.to_str().unwrap()])
        .args(["-n", "alice", "say", "me too"])
        .stdin(Stdio::null());
    assert_code(&stranger.output().unwrap(), 4, "alice");
    let pin = "0".repeat(64);
    assert_code(&with(&password, &["--fingerprint", &pin, "ls"]), 4, "key");

    let keys = secrets.path().join("keys");
    std::fs::write(&keys, format!("{pin} nobody\n")).unwrap();
    let closed = Rig::new(|config| config.authorized_keys = Some(keys));
    let output = closed.columba(&closed.address(), &["ls"]).output().unwrap();
    assert_code(&output, 4, "key");
}
