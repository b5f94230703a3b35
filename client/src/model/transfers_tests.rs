//! Tests of the list of downloads.

use std::io;

use super::*;
use crate::engine::message::{FileReport, GetPhase};
use crate::exit_code::{CHANGED_TWICE, ClientError, UDP_BLOCKED};
use crate::storage::StorageError;

fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(millis)
}

fn one(names: &[&str]) -> (Transfers, u32) {
    let mut all = Transfers::new("/downloads".into());
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let Command::Get { request, .. } = all.add(at(0), names, None) else {
        panic!("a Get");
    };
    (all, request)
}

fn progress(phase: GetPhase, done_bytes: u64, total_bytes: u64) -> GetEvent {
    GetEvent::Progress(GetProgress {
        phase,
        done_bytes,
        total_bytes,
        ..GetProgress::default()
    })
}

fn report(file: &str) -> FileReport {
    FileReport {
        file: file.to_owned(),
        target: Path::new("/downloads").join(file),
        bytes: 1000,
        elapsed: Duration::from_secs(1),
        blake3: [0xab; 32],
        resumed_bytes: 0,
        packets_received: 1,
        packets_duplicate: 0,
        handshake: Duration::ZERO,
        rtt_p50: Duration::ZERO,
        rtt_p99: Duration::ZERO,
    }
}

fn failed(file: &str, error: ClientError) -> GetEvent {
    GetEvent::Failed {
        file: file.to_owned(),
        error,
    }
}

fn io_error(kind: io::ErrorKind) -> ClientError {
    StorageError::io("write", Path::new("x"), kind.into()).into()
}

#[test]
fn a_download_goes_through_its_states_to_the_hash() {
    let (mut all, request) = one(&["a.iso"]);
    let state = |all: &Transfers| all.get(request).unwrap().state();
    assert_eq!(state(&all), TransferState::Queued);
    all.on_event(at(0), request, progress(GetPhase::Preparing, 0, 1000));
    assert_eq!(state(&all), TransferState::Preparing);
    for tenth in 0..6 {
        let event = progress(GetPhase::Active, tenth * 100, 1000);
        all.on_event(at(1000 + tenth * 100), request, event);
    }
    let here = all.get(request).unwrap();
    assert_eq!(here.state(), TransferState::Active);
    assert_eq!(here.rate(), Some(1000.0));
    assert_eq!(here.eta(), Some(Duration::from_millis(500)));
    assert!((0.49..0.51).contains(&here.share()));
    assert_eq!(all.summary().active, 1);
    assert!(all.summary().bytes_per_second > 999.0);
    all.on_event(at(2000), request, progress(GetPhase::Stalled, 500, 1000));
    assert_eq!(all.get(request).unwrap().eta(), None);
    all.on_event(at(2000), request, progress(GetPhase::Verifying, 1000, 1000));
    all.on_event(at(2100), request, GetEvent::Done(report("a.iso")));
    let end = all.on_event(at(2100), request, GetEvent::Finished);
    assert_eq!(end, Some(Ending::Done("a.iso".to_owned())));
    let here = all.get(request).unwrap();
    assert_eq!(here.state(), TransferState::Done);
    assert!(here.hash().unwrap().starts_with("abab"));
    assert_eq!(here.target(), Path::new("/downloads/a.iso"));
    assert_eq!(here.elapsed(at(9999)), Duration::from_millis(2100));
    assert_eq!(all.of_file("a.iso").unwrap().request(), request);
}

#[test]
fn failures_say_what_to_do_and_only_they_are_retried() {
    let (mut all, request) = one(&["tree"]);
    all.on_event(at(0), request, GetEvent::Done(report("tree/a")));
    let full = io_error(io::ErrorKind::StorageFull);
    all.on_event(at(0), request, failed("tree/b", full));
    all.on_event(at(0), request, GetEvent::Finished);
    let here = all.get(request).unwrap();
    assert_eq!(here.state(), TransferState::Failed);
    let failure = here.failures().next().unwrap();
    assert_eq!(failure.cause, Cause::DiskFull);
    assert_eq!(failure.cause.advice(), Advice::MakeRoom);
    let again = all.retry(at(1), request, Some("/other".into()));
    let Some(Command::Get {
        request: fresh,
        names,
        folder,
        roots,
        ..
    }) = again
    else {
        panic!("a Get");
    };
    assert_ne!(fresh, request);
    assert_eq!(
        (names, roots),
        (vec!["tree/b".to_owned()], vec!["tree".to_owned()])
    );
    assert_eq!(folder, Some("/other".into()));
    assert!(all.retry(at(1), fresh, None).is_none(), "it runs");
    all.on_event(at(2), request, GetEvent::Finished);
    assert_eq!(all.get(fresh).unwrap().state(), TransferState::Queued);
    all.on_event(at(2), fresh, GetEvent::Done(report("tree/b")));
    all.on_event(at(2), fresh, GetEvent::Finished);
    assert_eq!(all.get(fresh).unwrap().state(), TransferState::Done);
}

#[test]
fn a_failure_of_the_whole_is_retried_as_a_whole() {
    let (mut all, request) = one(&["a", "b"]);
    all.on_event(
        at(0),
        request,
        failed("", ClientError::Stalled(String::new())),
    );
    all.on_event(at(0), request, GetEvent::Finished);
    assert_eq!(all.get(request).unwrap().title(), "a and 1 more");
    let Some(Command::Get { names, .. }) = all.retry(at(1), request, None) else {
        panic!("a Get");
    };
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn pause_resume_and_cancel_show_at_once() {
    let (mut all, request) = one(&["a"]);
    let state = |all: &Transfers| all.get(request).unwrap().state();
    assert!(all.resume(request).is_none());
    assert!(matches!(all.pause(request), Some(Command::Pause { .. })));
    assert_eq!(state(&all), TransferState::Paused);
    assert!(matches!(all.resume(request), Some(Command::Resume { .. })));
    assert_eq!(state(&all), TransferState::Queued);
    assert!(all.cancel(at(5), request, false).is_some());
    all.on_event(at(6), request, progress(GetPhase::Active, 1, 2));
    assert_eq!(all.on_event(at(6), request, GetEvent::Finished), None);
    assert_eq!(state(&all), TransferState::Cancelled);
    assert!(all.cancel(at(7), request, false).is_none());
    assert!(all.pause(request).is_none());
    all.clear_done();
    assert!(all.is_empty());
}

#[test]
fn the_engines_end_fails_what_was_under_way() {
    let (mut all, request) = one(&["a"]);
    all.on_engine_ended(at(1), "gone");
    let here = all.get(request).unwrap();
    assert_eq!(here.state(), TransferState::Failed);
    assert_eq!(here.failures().next().unwrap().text, "gone");
    all.remove(request);
    assert!(all.is_empty());
}

#[test]
fn the_list_is_bounded_by_what_ended() {
    let (mut all, first) = one(&["first"]);
    for _ in 0..MAX_LISTED + 20 {
        let Command::Get { request, .. } = all.add(at(0), vec!["x".to_owned()], None) else {
            panic!("a Get");
        };
        all.on_event(at(0), request, GetEvent::Finished);
    }
    assert!(all.len() <= MAX_LISTED + 1, "{}", all.len());
    assert!(all.get(first).is_some(), "it has not ended");
}

#[test]
fn causes_are_told_apart() {
    let changed = ClientError::Integrity {
        name: String::new(),
        reason: CHANGED_TWICE,
    };
    let udp = ClientError::Connect {
        server: String::new(),
        reason: UDP_BLOCKED.to_owned(),
    };
    for (error, cause) in [
        (changed, Cause::SourceChanged),
        (udp, Cause::UdpBlocked),
        (
            io_error(io::ErrorKind::PermissionDenied),
            Cause::NotWritable,
        ),
        (io_error(io::ErrorKind::Other), Cause::Disk),
        (ClientError::NoSuchFile(String::new()), Cause::NoSuchFile),
        (ClientError::Stalled(String::new()), Cause::Unreachable),
    ] {
        assert_eq!(Cause::of(&error), cause, "{error}");
        assert!(!cause.advice().text().is_empty());
    }
}
