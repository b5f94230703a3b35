//! Downloads.

use std::path::PathBuf;
use std::sync::Arc;

use columba_client::download::get;
use columba_client::engine::message::{Command, Event, GetEvent};
use columba_client::exit_code::ClientError;
use columba_client::storage::memory::MemoryStorage;

use super::scripted::Scripted;
use super::support::{Program, config, content, fetch, on_disk, sharing, tree};

const MIB: usize = 1 << 20;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn one_file_arrives_whole_over_tls_and_in_plaintext() {
    for encrypted in [true, false] {
        for size in [0, 1, 5000, 70_000, MIB, 3 * MIB + 17] {
            let data = content(size, 1);
            let server = Scripted::start(sharing(&[("a", &data)]), encrypted);
            let folder = tempfile::tempdir().unwrap();
            let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |_| ()).unwrap();
            let reports = summary.outcome().unwrap();
            assert_eq!(reports.len(), 1);
            assert_eq!(reports[0].bytes, size as u64);
            assert_eq!(reports[0].blake3, *blake3::hash(&data).as_bytes());
            assert!(reports[0].packets_received > 0);
            let there = tree(folder.path());
            assert_eq!(there.len(), 1, "{there:?}");
            assert!(there[0].1 == *data, "{size} bytes, encrypted: {encrypted}");
        }
    }
}

#[test]
fn a_tree_of_many_files_arrives_whole() {
    let contents: Vec<_> = (0..300usize)
        .map(|number| {
            (
                format!("t/{}/{number}", number % 7),
                content(number * 37, number as u8),
            )
        })
        .chain([("t/large".to_owned(), content(2 * MIB + 3, 9))])
        .collect();
    let files: Vec<_> = contents
        .iter()
        .map(|(name, data)| (name.as_str(), data))
        .collect();
    let server = Scripted::start(sharing(&files), true);
    let folder = tempfile::tempdir().unwrap();
    let summary = fetch(config(&server, on_disk(folder.path())), &["t"], |_| ()).unwrap();
    assert_eq!(summary.outcome().unwrap().len(), 301);
    let mut expected: Vec<(PathBuf, Vec<u8>)> = contents
        .iter()
        .map(|(name, data)| (PathBuf::from(name), data.to_vec()))
        .collect();
    expected.sort();
    assert!(tree(folder.path()) == expected);
}

#[test]
fn losses_are_repaired() {
    let data = content(4 * MIB, 2);
    let mut script = sharing(&[("a", &data)]);
    script.drop_nth = 7;
    let server = Scripted::start(script, true);
    let storage = Arc::new(MemoryStorage::keeping());
    fetch(
        config(&server, Arc::<MemoryStorage>::clone(&storage)),
        &["a"],
        |_| (),
    )
    .unwrap()
    .outcome()
    .unwrap();
    assert!(storage.files()[0].1 == *data);
}

#[test]
fn a_damaged_segment_is_fetched_again_and_only_that() {
    for size in [5 * MIB, 30_000] {
        let data = content(size, 3);
        let mut script = sharing(&[("a", &data)]);
        script.corrupt.insert(("a".to_owned(), size as u64 / 2), 1);
        let server = Scripted::start(script, true);
        let folder = tempfile::tempdir().unwrap();
        let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |_| ()).unwrap();
        summary.outcome().unwrap();
        assert!(tree(folder.path())[0].1 == *data);
        let again = server.script().read_bytes - size as u64;
        // The segment, and what was lost on a busy machine.
        assert!(again < 4 * MIB as u64, "{again} bytes were read again");
    }
}

#[test]
fn a_segment_damaged_twice_is_an_integrity_error() {
    for size in [3 * MIB, 30_000] {
        let data = content(size, 4);
        let mut script = sharing(&[("a", &data)]);
        script.corrupt.insert(("a".to_owned(), 10), 1000);
        let server = Scripted::start(script, true);
        let folder = tempfile::tempdir().unwrap();
        let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |_| ()).unwrap();
        let error = summary.outcome().unwrap_err();
        assert_eq!(error.exit_code() as u8, 6, "{error}");
        assert!(!folder.path().join("a").exists());
    }
}

#[test]
fn a_file_that_changes_starts_over_once() {
    let (old, new) = (content(4 * MIB, 5), content(3 * MIB + 1, 6));
    let mut script = sharing(&[("a", &old)]);
    script
        .change
        .push(("a".to_owned(), 2 * MIB as u64, Arc::clone(&new)));
    let server = Scripted::start(script, true);
    let folder = tempfile::tempdir().unwrap();
    let mut told = 0;
    let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |event| {
        let Event::Get { event, .. } = event else {
            return;
        };
        told += u32::from(matches!(event, GetEvent::StartsOver { .. }));
    });
    summary.unwrap().outcome().unwrap();
    assert_eq!(told, 1);
    let there = tree(folder.path());
    assert_eq!(there.len(), 1);
    assert!(there[0].1 == *new);
}

#[test]
fn a_file_that_changes_twice_is_an_integrity_error() {
    let (old, new) = (content(4 * MIB, 5), content(3 * MIB, 6));
    let mut script = sharing(&[("a", &old)]);
    for (at, data) in [(2 * MIB, &new), (MIB, &old)] {
        script
            .change
            .push(("a".to_owned(), at as u64, Arc::clone(data)));
    }
    let server = Scripted::start(script, true);
    let folder = tempfile::tempdir().unwrap();
    let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |_| ()).unwrap();
    let error = summary.outcome().unwrap_err();
    assert_eq!(error.exit_code() as u8, 6, "{error}");
}

#[test]
fn a_lost_control_connection_does_not_end_a_download() {
    let (one, other) = (content(6 * MIB, 7), content(2 * MIB, 8));
    let mut script = sharing(&[("one", &one), ("other", &other)]);
    script.cut_at = Some(3 * MIB as u64);
    let server = Scripted::start(script, true);
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&server, on_disk(folder.path()));
    config.transfer.jobs = 1;
    let summary = fetch(config, &["one", "other"], |_| ()).unwrap();
    assert_eq!(summary.outcome().unwrap().len(), 2);
    let there = tree(folder.path());
    assert!(there[0].1 == *one && there[1].1 == *other);
    assert!(server.script().accepted >= 2);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let data = content(10, 1);
    for lie in [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "evil\x1b[2J",
        "other",
    ] {
        let mut script = sharing(&[("a", &data)]);
        script.lies.insert("a".to_owned(), lie.to_owned());
        let server = Scripted::start(script, true);
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("downloads");
        let summary = fetch(config(&server, on_disk(&folder)), &["a"], |_| ()).unwrap();
        let error = summary.outcome().unwrap_err();
        assert!(!error.to_string().contains('\x1b'));
        assert_eq!(tree(outer.path()), []);
    }
}

#[test]
fn a_server_that_is_silent_over_udp_is_no_connection() {
    let data = content(10, 1);
    let mut script = sharing(&[("a", &data)]);
    script.deaf = true;
    let server = Scripted::start(script, true);
    let mut config = config(&server, Arc::new(MemoryStorage::dropping()));
    config.connect_for = std::time::Duration::from_millis(300);
    let error = fetch(config, &["a"], |_| ())
        .unwrap()
        .outcome()
        .unwrap_err();
    assert_eq!(error.exit_code() as u8, 3, "{error}");
}

#[test]
fn stopping_leaves_what_the_next_run_goes_on_with() {
    let data = content(8 * MIB, 9);
    let mut script = sharing(&[("a", &data)]);
    script.stall_at = Some(5 * MIB as u64 + 100);
    let server = Scripted::start(script, true);
    let folder = tempfile::tempdir().unwrap();
    let control = std::cell::RefCell::new(None);
    let stopped = get(
        config(&server, on_disk(folder.path())),
        vec!["a".to_owned()],
        None,
        |commands| *control.borrow_mut() = Some(commands),
        |event| {
            if let Event::Get {
                event: GetEvent::Progress(progress),
                ..
            } = event
                && progress.done_bytes > 4 * MIB as u64 + 4096
                && let Some(commands) = control.borrow_mut().take()
            {
                commands.send(Command::Stop).unwrap();
            }
        },
    );
    let error = stopped.unwrap_err();
    assert_eq!(error.exit_code() as u8, 130, "{error}");
    let left: Vec<PathBuf> = tree(folder.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        left,
        [PathBuf::from("a.part"), PathBuf::from("a.part.columba")]
    );

    server.script().stall_at = None;
    let read_before = server.script().read_bytes;
    let summary = fetch(config(&server, on_disk(folder.path())), &["a"], |_| ()).unwrap();
    let reports = summary.outcome().unwrap();
    assert!(reports[0].resumed_bytes >= 4 * MIB as u64, "{reports:?}");
    let read = server.script().read_bytes - read_before;
    assert!(read < 5 * MIB as u64, "{read} bytes were read for the rest");
    let there = tree(folder.path());
    assert_eq!(there.len(), 1);
    assert!(there[0].1 == *data);
}

#[test]
fn the_program_prints_the_fields_of_the_contract() {
    let data = content(2 * MIB, 10);
    let server = Scripted::start(sharing(&[("a", &data)]), true);
    let program = Program::new(&server);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new name");
    let output = program.run(&["get", "a", "-o", target.to_str().unwrap(), "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["file"], "a");
    assert_eq!(line["bytes"], 2 * MIB);
    assert_eq!(line["resumed_bytes"], 0);
    assert_eq!(line["blake3"], blake3::hash(&data).to_hex().as_str());
    assert!(line["seconds"].as_f64().unwrap() > 0.0);
    assert!(std::fs::read(&target).unwrap() == *data);
    assert!(text(&output.stderr).contains("first contact"));

    let again = program.run(&["get", "a", "-o", target.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(7));
    let skipped = program.run(&["get", "a", "--skip", "-o", target.to_str().unwrap()]);
    assert_eq!(skipped.status.code(), Some(0));
    let piped = program.run(&["get", "a", "-o", "-"]);
    assert!(piped.stdout == *data);
}

#[test]
fn the_program_ends_with_the_codes_of_the_contract() {
    let data = content(10, 1);
    let server = Scripted::start(sharing(&[("a", &data)]), true);
    let program = Program::new(&server);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let code = |arguments: &[&str]| program.run(arguments).status.code();
    assert_eq!(code(&["get", "nosuch", "-o", folder]), Some(5));
    assert_eq!(code(&["get", "a", "nosuch", "-o", folder]), Some(9));
    assert_eq!(code(&["get"]), Some(2));
    assert_eq!(code(&["chat"]), Some(2));
    assert_eq!(code(&["users", "--fingerprint", &"0".repeat(64)]), Some(4));
    server.script().refuse = Some(columba_core::control::ControlError::Password);
    assert_eq!(code(&["ls"]), Some(4));
}

#[test]
fn an_error_of_one_file_names_it() {
    let error = ClientError::Integrity {
        name: "a".to_owned(),
        reason: "it came twice",
    };
    assert!(error.to_string().starts_with("a: "));
}
