//! Deterministic simulation: many clients, a swarm of faults, one seed.
//!
//! Each seed leaves out each fault with probability one half and draws the strength of the rest (`case`). Safety is
//! asserted after every event (no byte twice, no wrong byte, no segment announced before it is whole: see `world`; what
//! goes out, and when: see `monitor`), liveness after the links have healed (`run`). A failure is made smaller while it
//! stays the same failure (`shrink`), and printed as a line that repeats it and as a test (`text`).
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many from `SIM_FIRST` on, `SIM_CASE=…` a case as it was printed.

mod case;
mod run;
mod shrink;
mod text;

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use case::Case;
use run::play;
use shrink::{Failure, attempt, shrink};

const DEFAULT_SEEDS: u64 = 300;
/// Cases tried to make a failure smaller.
const ATTEMPTS: u32 = 1000;
/// How long a sweep takes unless `SIM_MINUTES` says otherwise.
const DEFAULT_MINUTES: f64 = 10.0;
/// How often a sweep says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tells of a failing seed: the line that repeats it, then the smallest case with the same failure. Panics.
fn report(seed: u64, failure: Failure) -> ! {
    let command = "cargo test -p columba-core --test transport simulation";
    eprintln!("seed {seed}: {failure}\nrepeat with: SIM_SEED={seed} {command}");
    let mut attempts = 0;
    let small = shrink(Case::draw(seed), ATTEMPTS, &mut |case| {
        attempts += 1;
        attempt(|| play(case, None))
            .err()
            .is_some_and(|other| other.is_like(&failure))
    });
    eprintln!("made smaller in {attempts} attempts:\nSIM_CASE=\"{small}\" {command}");
    eprintln!(
        "as a test:\n\n#[test]\nfn seed_{seed}_shrunk() {{\n    play(&parse(\"{small}\"), None);\n}}\n"
    );
    resume_unwind(failure.into_panic())
}

/// How many seeds a minute that is.
fn pace(seeds: u64, start: Instant) -> f64 {
    seeds as f64 * 60.0 / start.elapsed().as_secs_f64().max(1e-3)
}

#[test]
fn seeds() {
    if let Ok(line) = std::env::var("SIM_CASE") {
        play(&parse(&line), None);
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let range = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS),
    };
    let (start, count) = (Instant::now(), range.end - range.start);
    for seed in range {
        if let Err(failure) = attempt(|| play(&Case::draw(seed), None)) {
            report(seed, failure);
        }
    }
    println!("{count} seeds, {:.0} a minute", pace(count, start));
}

/// All cores, from `SIM_FIRST` on, for `SIM_MINUTES` or `SIM_SEEDS`, whichever is given.
#[test]
#[ignore = "takes as long as it is told to"]
fn sweep() {
    let first: u64 = number("SIM_FIRST").unwrap_or(1_000_000);
    let most: Option<u64> = number("SIM_SEEDS");
    let minutes = most.map_or(DEFAULT_MINUTES, |_| f64::INFINITY);
    let most = most.unwrap_or(u64::MAX);
    let seconds = number("SIM_MINUTES").unwrap_or(minutes) * 60.0;
    let (start, next, done) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let (failed, told) = (Mutex::new(None), Mutex::new(start));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let is_over = index >= most || start.elapsed().as_secs_f64() >= seconds;
            if is_over || failed.lock().expect("no panic").is_some() {
                return;
            }
            let seed = first + index;
            if let Err(failure) = attempt(|| play(&Case::draw(seed), None)) {
                *failed.lock().expect("no panic") = Some((seed, failure));
                return;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let mut told = told.lock().expect("no panic");
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                println!("{done} seeds, {:.0} a minute", pace(done, start));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let done = done.into_inner();
    println!(
        "{done} seeds from {first} on, {:.0} a minute",
        pace(done, start)
    );
    if let Some((seed, failure)) = failed.into_inner().expect("no panic") {
        report(seed, failure);
    }
}

/// A case as it was printed.
fn parse(line: &str) -> Case {
    line.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 10_000..10_020 {
        let case = Case::draw(seed);
        assert_eq!(play(&case, None), play(&case, None), "seed {seed}");
    }
}

/// What is printed is all there is to a case.
#[test]
fn a_case_survives_the_way_through_text() {
    for seed in 0..2000 {
        let case = Case::draw(seed);
        assert_eq!(parse(&case.to_string()), case, "seed {seed}");
    }
    for wrong in [
        "",
        "files 1",
        "seed 1; files x",
        "seed 1; files 1; peer loss=2 x",
        "seed 1; files 1; at 1 eat peer=1",
    ] {
        assert!(wrong.parse::<Case>().is_err(), "{wrong}");
    }
}

/// Found by seed 707632.
#[test]
fn a_reset_in_flight_is_not_repeated_after_the_end() {
    let case = "seed 707632; files 0 0 0; \
        peer delay=23500000 mtu=1472 algorithm=cubic plaintext=true max-datagram=65507; \
        at 3154622000 too-large peer=0 bytes=1200; at 3154622000 forget peer=0; \
        at 3154622000 end-stream peer=0 stream=3";
    play(&parse(case), None);
}
