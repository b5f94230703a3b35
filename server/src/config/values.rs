//! Addresses as people write them; sizes and rates are `columba_values`.

use std::net::{IpAddr, SocketAddr};

use columba_core::control::DEFAULT_PORT;

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

#[cfg(test)]
mod tests {
    use super::*;

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
