//! Sizes, times, rates and probabilities as people write them on command lines and in settings.
//!
//! All numbers are read exactly: a fraction is scaled in whole numbers, and what is below the unit of the result is cut
//! off. Units may be written in any case.
#![forbid(unsafe_code)]

use std::time::Duration;

/// A value that cannot be read; the message says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

impl ValueError {
    /// An error with this message.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// Says what `text` is not; `expected` is like `a time such as 25ms`.
    #[must_use]
    pub fn is_not(text: &str, expected: &str) -> Self {
        Self(format!("'{}' is not {expected}", text.escape_debug()))
    }
}

/// Splits `12.5 unit` into its number and its unit in small letters.
fn split(text: &str) -> (&str, String) {
    let text = text.trim();
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    (number, unit.trim().to_ascii_lowercase())
}

/// A decimal number times `scale`.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    /// More digits after the point make no difference.
    const MAX_FRACTION_DIGITS: usize = 18;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > MAX_FRACTION_DIGITS {
        return None;
    }
    let parse = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<u64>().ok()
        }
    };
    let whole = parse(whole)?.checked_mul(scale)?;
    let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = u128::from(parse(fraction)?) * u128::from(scale) / divisor;
    whole.checked_add(u64::try_from(fraction).ok()?)
}

/// Bytes: `1500`, `64k`, `10M`, `1G`, in powers of 1024.
///
/// # Errors
/// The text is no size.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    bytes(text)
        .ok_or_else(|| ValueError::is_not(text, "a size in bytes such as 1500, 64k, 10M or 1G"))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let letter = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t"]
        .iter()
        .position(|known| *known == letter)?;
    scaled(number, 1 << (10 * power))
}

/// A time: `25ms`, `2s`, `1.5m`, `100us`; a bare number is seconds.
///
/// # Errors
/// The text is no time.
pub fn parse_time(text: &str) -> Result<Duration, ValueError> {
    time(text, Some(1_000_000_000))
}

/// A time where a bare number could be taken for milliseconds as well as for seconds: like [`parse_time`], but only `0`
/// needs no unit.
///
/// # Errors
/// The text is no time, or has no unit.
pub fn parse_time_with_unit(text: &str) -> Result<Duration, ValueError> {
    time(text, None)
}

fn time(text: &str, bare_ns: Option<u64>) -> Result<Duration, ValueError> {
    let (number, unit) = split(text);
    let unit_ns = match unit.as_str() {
        "ns" => Some(1),
        "us" | "µs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" | "min" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        "" if number == "0" => Some(1),
        "" => bare_ns,
        _ => None,
    };
    unit_ns
        .and_then(|unit| scaled(number, unit))
        .map(Duration::from_nanos)
        .ok_or_else(|| ValueError::is_not(text, "a time such as 25ms or 2s"))
}

/// Bytes per second, more than none: `100mbit`, `5gbit`, `800kbit/s` (bits, powers of 1000), or `10M` (bytes, powers of
/// 1024).
///
/// # Errors
/// The text is no rate, or none at all.
pub fn parse_rate(text: &str) -> Result<u64, ValueError> {
    let plain = without_per_second(text);
    let rate = bits(plain).map(|bits| bits / 8).or_else(|| bytes(plain));
    rate.filter(|rate| *rate > 0)
        .ok_or_else(|| ValueError::is_not(text, "a rate such as 100mbit"))
}

/// Bits per second: `100mbit`, `1gbit`, `64kbit`, `9600bit`, in powers of 1000.
///
/// # Errors
/// The text is no such rate.
pub fn parse_bit_rate(text: &str) -> Result<u64, ValueError> {
    bits(without_per_second(text)).ok_or_else(|| ValueError::is_not(text, "a rate such as 100mbit"))
}

fn without_per_second(text: &str) -> &str {
    text.trim().strip_suffix("/s").unwrap_or(text)
}

fn bits(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let prefix = ["bitps", "bit", "bps"]
        .iter()
        .find_map(|name| unit.strip_suffix(name))?;
    let scale = match prefix {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        _ => return None,
    };
    scaled(number, scale)
}

/// A probability: `5%` or `0.05`.
///
/// # Errors
/// The text is no number between 0 and 1.
pub fn parse_probability(text: &str) -> Result<f64, ValueError> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), 100.0),
        None => (text.trim(), 1.0),
    };
    let value = number.parse::<f64>().map(|number| number / scale);
    value
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| ValueError::is_not(text, "a probability such as 5% or 0.05"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("64k", 65_536),
            ("10M", 10 << 20),
            ("1G", 1 << 30),
            ("1.5M", 3 << 19),
            ("2MiB", 2 << 20),
            ("3KB", 3072),
            ("7 b", 7),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in [
            "",
            "k",
            "-1",
            "1x",
            "1e3",
            "99999999999999999999G",
            "18446744073709551616",
            "1..2",
            ".",
            "NaN",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times() {
        for (text, time) in [
            ("25ms", Duration::from_millis(25)),
            ("1.5 s", Duration::from_millis(1_500)),
            ("100us", Duration::from_micros(100)),
            ("2m", Duration::from_secs(120)),
            ("1H", Duration::from_secs(3_600)),
            ("0", Duration::ZERO),
        ] {
            assert_eq!(parse_time(text), Ok(time), "{text}");
            assert_eq!(parse_time_with_unit(text), Ok(time), "{text}");
        }
        assert_eq!(parse_time("2.5"), Ok(Duration::from_millis(2_500)));
        assert!(parse_time_with_unit("5").is_err());
        for wrong in [
            "",
            "ms",
            "-1s",
            "1 fortnight",
            "1e30h",
            "1..5s",
            "99999999999999999999s",
        ] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        for (text, bits) in [
            ("100mbit", 100_000_000),
            ("0.5Gbit", 500_000_000),
            ("9600bit", 9_600),
            ("10Mbit/s", 10_000_000),
            ("2.5mbitps", 2_500_000),
            ("64 kbps", 64_000),
        ] {
            assert_eq!(parse_bit_rate(text), Ok(bits), "{text}");
            assert_eq!(parse_rate(text), Ok(bits / 8), "{text}");
        }
        assert_eq!(parse_rate("10M"), Ok(10 << 20));
        assert_eq!(parse_rate("10M/s"), Ok(10 << 20));
        for wrong in ["", "mbit", "5xbit", "1e3bit"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
            assert!(parse_bit_rate(wrong).is_err(), "{wrong}");
        }
        for none in ["0", "0mbit", "7bit"] {
            assert!(parse_rate(none).is_err(), "{none}");
        }
        for bytes in ["100", "100mb"] {
            assert!(parse_bit_rate(bytes).is_err(), "{bytes}");
        }
    }

    #[test]
    fn probabilities() {
        for (text, value) in [("5%", 0.05), ("0.05", 0.05), ("0.25", 0.25), ("100 %", 1.0)] {
            assert_eq!(parse_probability(text), Ok(value), "{text}");
        }
        for wrong in [
            "",
            "%",
            "5",
            "-1%",
            "101%",
            "nan",
            "inf",
            "5%%",
            "5 percent",
        ] {
            assert!(parse_probability(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_value_and_what_is_expected() {
        let said = parse_time("1\x1b[2J").map_err(|error| error.to_string());
        assert_eq!(
            said,
            Err(r"'1\u{1b}[2J' is not a time such as 25ms or 2s".to_owned())
        );
    }
}
