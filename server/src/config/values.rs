//! Values as people write them: sizes, rates, addresses.

use std::net::{IpAddr, SocketAddr};

use columba_core::control::DEFAULT_PORT;

/// A size in bytes: `512`, `64k`, `10M`, `1G` (powers of 1024).
///
/// # Errors
/// What is wrong with it, for the person.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("{text:?} is no size: write 512, 64k, 10M or 1G")),
    };
    scaled(number, factor).ok_or_else(|| format!("{text:?} is no size: write 512, 64k, 10M or 1G"))
}

/// A rate, in bytes per second: `100mbit`, `2.5gbit` (powers of 1000), or a size for bytes per second.
///
/// # Errors
/// What is wrong with it, for the person.
pub fn rate(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("{text:?} is no rate: write 500kbit, 100mbit, 1gbit, or 10M for bytes per second")
    };
    let (number, unit) = split(text);
    let bits: u64 = match unit
        .to_ascii_lowercase()
        .trim_end_matches("/s")
        .trim_end_matches("ps")
    {
        "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return size(text.trim_end_matches("/s")).map_err(|_| wrong()),
    };
    scaled(number, bits)
        .map(|bits| bits / 8)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(wrong)
}

/// Where to listen: `ADDRESS:PORT`, `[v6]:PORT`, an address alone (with the default port), or `:PORT` for all.
///
/// # Errors
/// What is wrong with it, for the person.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(ip) = text
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Ok((ip, DEFAULT_PORT).into());
    }
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok((std::net::Ipv6Addr::UNSPECIFIED, port).into());
    }
    if let Some(port) = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
    {
        return Ok((std::net::Ipv4Addr::LOCALHOST, port).into());
    }
    Err(format!(
        "{text:?} is no address to listen on: write 0.0.0.0:{DEFAULT_PORT} or [::]:{DEFAULT_PORT}"
    ))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

/// `number × factor` in whole units; the number may have a fraction.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.get(..fraction.len().min(9))?;
    let whole: u64 = whole.parse().ok()?;
    let part = if fraction.is_empty() {
        0
    } else {
        let digits: u128 = fraction.parse().ok()?;
        u64::try_from(digits * u128::from(factor) / 10u128.pow(u32::try_from(fraction.len()).ok()?))
            .ok()?
    };
    whole.checked_mul(factor)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64k", 65_536),
            ("10M", 10 << 20),
            ("1G", 1 << 30),
            ("1.5k", 1_536),
            ("2 MiB", 2 << 20),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1x",
            "99999999999999999999",
            "1.2.3k",
            "18446744073709551615G",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        for (text, bytes) in [
            ("100mbit", 12_500_000),
            ("1gbit", 125_000_000),
            ("8kbit", 1_000),
            ("2.5Mbit/s", 312_500),
            ("10M", 10 << 20),
        ] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "mbit", "0mbit", "fast", "1parsec"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("127.0.0.1:5", "127.0.0.1:5"),
            ("[::]:0", "[::]:0"),
            ("0.0.0.0", "0.0.0.0:11490"),
            ("[::1]", "[::1]:11490"),
            (":7", "[::]:7"),
            ("localhost:9", "127.0.0.1:9"),
        ] {
            assert_eq!(
                address(text).map(|address| address.to_string()),
                Ok(expected.to_owned())
            );
        }
        assert!(address("nowhere").is_err());
    }
}
