//! Sizes, rates and times as people read them.

use std::time::Duration;

const STEPS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];

/// A size in powers of 1000, three digits at most: `84 MB`, `1.5 GB`, `999 B`.
#[must_use]
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let mut value = bytes as f64;
    let mut step = 0;
    // What would be rounded to 1000 belongs to the next unit.
    while value >= 999.5 && step + 1 < STEPS.len() {
        value /= 1000.0;
        step += 1;
    }
    if step == 0 || value >= 99.95 {
        format!("{value:.0} {}", STEPS[step])
    } else {
        format!("{value:.1} {}", STEPS[step])
    }
}

/// A rate: `84 MB/s`.
#[must_use]
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", size(whole(bytes_per_second)))
}

/// The same in bits, as links are sold: `670 Mbit/s`.
#[must_use]
pub fn bit_rate(bytes_per_second: f64) -> String {
    let text = size(whole(bytes_per_second * 8.0));
    match text.split_once(' ') {
        Some((number, unit)) => {
            let prefix = unit.trim_end_matches('B');
            format!("{number} {prefix}bit/s")
        }
        None => text,
    }
}

/// What is left of a countdown or a download: `0:41`, `12:05`, `3:07:20`, `2 d 4 h`.
#[must_use]
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..48 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A round trip: `0.4 ms`, `12 ms`, `1.3 s`.
#[must_use]
pub fn latency(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 9.95 {
        format!("{millis:.1} ms")
    } else if millis < 999.5 {
        format!("{millis:.0} ms")
    } else {
        format!("{:.1} s", millis / 1e3)
    }
}

/// A share between 0 and 1: `0.3 %`, `12 %`; nothing but zero is shown as `0 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 {
        "0 %".to_owned()
    } else if percent < 0.1 {
        "< 0.1 %".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "for display; float casts saturate"
    )]
    let whole = value.max(0.0).round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_500_000, "1.5 MB"),
            (84_300_000, "84.3 MB"),
            (100_000_000, "100 MB"),
            (999_600_000, "1.0 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn rates_times_and_shares() {
        assert_eq!(rate(84e6), "84.0 MB/s");
        assert_eq!(rate(-1.0), "0 B/s");
        assert_eq!(bit_rate(12.5e6), "100 Mbit/s");
        assert_eq!(bit_rate(1.0), "8 bit/s");
        let seconds = Duration::from_secs;
        assert_eq!(clock(seconds(41)), "0:41");
        assert_eq!(clock(seconds(3661)), "1:01:01");
        assert_eq!(clock(seconds(200_000)), "2 d 7 h");
        assert_eq!(latency(Duration::from_micros(400)), "0.4 ms");
        assert_eq!(latency(Duration::from_millis(12)), "12 ms");
        assert_eq!(latency(Duration::from_millis(1300)), "1.3 s");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.0002), "< 0.1 %");
        assert_eq!(percent(0.003), "0.3 %");
        assert_eq!(percent(0.117), "12 %");
    }
}
