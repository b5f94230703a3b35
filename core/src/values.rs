//! Sizes, times, rates and probabilities as people write them on command lines and in settings.

use std::time::Duration;

/// What a text is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write it like {example}")]
pub struct ValueError {
    text: String,
    what: &'static str,
    example: &'static str,
}

fn refuse(text: &str, what: &'static str, example: &'static str) -> ValueError {
    ValueError {
        text: text.to_owned(),
        what,
        example,
    }
}

/// Splits `12.5unit` into its number, which is finite and not negative, and its unit.
fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    Some((number, unit.trim().to_ascii_lowercase()))
}

/// A whole number from a product that fits.
fn whole(value: f64) -> Option<u64> {
    // 2^63 is exact in f64, so the comparison is, too.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range, as just checked"
    )]
    (0.0..9_223_372_036_854_775_808.0)
        .contains(&value)
        .then(|| value.round() as u64)
}

/// Bytes: `64k`, `10M`, `1G`, `1500`. Letters are powers of 1024.
///
/// # Errors
/// The text is no size.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let parse = || {
        let (number, unit) = split(text)?;
        let letters = unit
            .strip_suffix("ib")
            .or_else(|| unit.strip_suffix('b'))
            .unwrap_or(&unit);
        let power = ["", "k", "m", "g", "t"]
            .iter()
            .position(|letter| *letter == letters)?;
        whole(number * 1024f64.powi(i32::try_from(power).ok()?))
    };
    parse().ok_or_else(|| refuse(text, "size", "64k, 10M or 1G"))
}

/// A time: `25ms`, `2s`, `1.5m`, `100us`; a bare number is seconds.
///
/// # Errors
/// The text is no time.
pub fn parse_time(text: &str) -> Result<Duration, ValueError> {
    let parse = || {
        let (number, unit) = split(text)?;
        let seconds = match unit.as_str() {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(number * seconds).ok()
    };
    parse().ok_or_else(|| refuse(text, "time", "25ms or 2s"))
}

/// Bytes per second: `100mbit`, `5gbit`, `800kbit` (powers of 1000, bits), or `10M` (bytes).
///
/// # Errors
/// The text is no rate, or none at all.
pub fn parse_rate(text: &str) -> Result<u64, ValueError> {
    let error = || refuse(text, "rate", "100mbit");
    let lower = text.trim().to_ascii_lowercase();
    let plain = lower.strip_suffix("/s").unwrap_or(&lower);
    let bits = ["bit", "bps", "bitps"]
        .iter()
        .find_map(|unit| plain.strip_suffix(unit));
    let bytes = match bits {
        Some(prefixed) => {
            let (number, unit) = split(prefixed).ok_or_else(error)?;
            let scale = match unit.as_str() {
                "" => 1.0,
                "k" => 1e3,
                "m" => 1e6,
                "g" => 1e9,
                _ => return Err(error()),
            };
            whole(number * scale / 8.0).ok_or_else(error)?
        }
        None => parse_size(plain).map_err(|_| error())?,
    };
    if bytes == 0 { Err(error()) } else { Ok(bytes) }
}

/// A probability: `5%` or `0.05`.
///
/// # Errors
/// The text is no number between 0 and 1.
pub fn parse_probability(text: &str) -> Result<f64, ValueError> {
    let (number, unit) = split(text).ok_or_else(|| refuse(text, "probability", "5% or 0.05"))?;
    let value = match unit.as_str() {
        "%" => number / 100.0,
        "" => number,
        _ => -1.0,
    };
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(refuse(text, "probability", "5% or 0.05"))
    }
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
            ("1.5k", 1536),
            ("2MiB", 2 << 20),
            ("3KB", 3072),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1x",
            "1e3",
            "99999999999999999999G",
            "1..2",
            "NaN",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, millis) in [("25ms", 25), ("2s", 2000), ("1.5m", 90_000), ("3", 3000)] {
            assert_eq!(
                parse_time(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(parse_time("100us"), Ok(Duration::from_micros(100)));
        for text in ["", "ms", "-1s", "1 fortnight", "1e30h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        for (text, bytes) in [
            ("100mbit", 12_500_000),
            ("1gbit", 125_000_000),
            ("800kbit", 100_000),
            ("8bit", 1),
            ("10Mbit/s", 1_250_000),
            ("2.5mbitps", 312_500),
            ("10M", 10 << 20),
        ] {
            assert_eq!(parse_rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "0mbit", "mbit", "5xbit"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn probabilities() {
        assert_eq!(parse_probability("5%"), Ok(0.05));
        assert_eq!(parse_probability("0.05"), Ok(0.05));
        assert_eq!(parse_probability("100%"), Ok(1.0));
        for text in ["", "1.1", "101%", "-5%", "5 percent"] {
            assert!(parse_probability(text).is_err(), "{text}");
        }
    }
}
