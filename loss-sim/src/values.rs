//! How people write probabilities, times, rates and sizes.

use std::time::Duration;

/// A value that can't be read; the message says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub(crate) String);

fn expected(what: &str, text: &str) -> ValueError {
    ValueError(format!("'{text}' is not {what}"))
}

/// `5%` or `0.05`, from 0 to 1.
///
/// # Errors
/// Anything else.
pub fn parse_probability(text: &str) -> Result<f64, ValueError> {
    let error = || expected("a probability such as 5% or 0.05", text);
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text.trim(), 1.0),
    };
    let probability = number.trim().parse::<f64>().map_err(|_| error())? / scale;
    if (0.0..=1.0).contains(&probability) {
        Ok(probability)
    } else {
        Err(error())
    }
}

/// Splits `25ms` into its number and its unit.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let unit_at = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    (number, unit.trim())
}

/// A number with a unit, exactly: decimal fractions are scaled in whole numbers.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 18 {
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

/// `25ms`, `2s`, `100us`, `500ns`, `1m`; `0` needs no unit.
///
/// # Errors
/// Anything else.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let (number, unit) = split_unit(text);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "ns" => Some(1),
        "us" | "µs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" | "min" => Some(60_000_000_000),
        "" if number == "0" => Some(1),
        _ => None,
    };
    scale
        .and_then(|scale| scaled(number, scale))
        .map(Duration::from_nanos)
        .ok_or_else(|| expected("a time such as 25ms or 2s", text))
}

/// `100mbit`, `1gbit`, `64kbit`, `9600bit`: bits per second, in powers of 1000.
///
/// # Errors
/// Anything else.
pub fn parse_rate(text: &str) -> Result<u64, ValueError> {
    let (number, unit) = split_unit(text);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "bit" => Some(1),
        "kbit" => Some(1_000),
        "mbit" => Some(1_000_000),
        "gbit" => Some(1_000_000_000),
        _ => None,
    };
    scale
        .and_then(|scale| scaled(number, scale))
        .ok_or_else(|| expected("a rate such as 100mbit", text))
}

/// `1500`, `64k`, `10M`, `1G`: bytes, in powers of 1024.
///
/// # Errors
/// Anything else.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let (number, unit) = split_unit(text);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    };
    scale
        .and_then(|scale| scaled(number, scale))
        .ok_or_else(|| expected("a size in bytes such as 1500, 64k or 10M", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities() {
        assert_eq!(parse_probability("5%"), Ok(0.05));
        assert_eq!(parse_probability("0.25"), Ok(0.25));
        assert_eq!(parse_probability("100 %"), Ok(1.0));
        for wrong in ["", "%", "5", "-1%", "101%", "nan", "inf", "5%%"] {
            assert!(parse_probability(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("25ms"), Ok(Duration::from_millis(25)));
        assert_eq!(parse_duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "5",
            "ms",
            "-1ms",
            "1h",
            "1..5s",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("100mbit"), Ok(100_000_000));
        assert_eq!(parse_rate("0.5Gbit"), Ok(500_000_000));
        assert_eq!(parse_rate("9600bit"), Ok(9600));
        for wrong in ["", "100", "100mb", "mbit", "1e3bit"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1500"), Ok(1500));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size("1.5M"), Ok(1_572_864));
        assert_eq!(parse_size("1G"), Ok(1 << 30));
        for wrong in ["", "k", "1x", "-5", "18446744073709551616"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
