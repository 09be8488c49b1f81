//! Free ports on loopback.
//!
//! Ports are taken from below the kernel's ephemeral range. A port inside it can be lost while its
//! server is down: a client that keeps reconnecting to 127.0.0.1 is sooner or later given that very
//! port as its own source port, connects to itself and holds the server's port for as long as it
//! likes. A free port is no reservation: whoever starts a server on it retries with another one
//! when the bind fails.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;

use super::error::StackError;

/// First port handed out; below it live well-known servers.
const FIRST_PORT: u16 = 15_000;
/// Last port handed out where the kernel's ephemeral range does not begin earlier.
const LAST_PORT: u16 = 31_999;
/// A smaller pool than this is not worth the protection that it buys.
const POOL_SIZE_MIN: u16 = 1_000;
/// Random ports tried before giving up.
const TRIES_MAX: u32 = 1_000;
/// How often a part that lost its port to somebody else tries another.
pub(crate) const PORT_TRIES_MAX: u32 = 5;

/// A port on 127.0.0.1 that nobody listens on at this moment, other than `taken`.
///
/// # Errors
/// `NoFreePort` when a thousand random ports of the pool were all occupied.
pub(crate) fn free_port(taken: &[u16]) -> Result<u16, StackError> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let pool = pool_below(&range);
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    pick(&pool, |port| !taken.contains(&port) && is_free(port))
        .ok_or(StackError::NoFreePort { first: *pool.start(), last: *pool.end() })
}

/// The ports to choose from, given the kernel's ephemeral range as `"first\tlast"`.
fn pool_below(ephemeral_range: &str) -> RangeInclusive<u16> {
    let ephemeral_first: Option<u16> =
        ephemeral_range.split_whitespace().next().and_then(|port| port.parse().ok());
    match ephemeral_first {
        Some(first) if first >= FIRST_PORT + POOL_SIZE_MIN => {
            FIRST_PORT..=LAST_PORT.min(first.saturating_sub(1))
        }
        // The ephemeral range begins so low that there is nothing useful below it.
        _ => FIRST_PORT..=LAST_PORT,
    }
}

fn pick(pool: &RangeInclusive<u16>, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    (0..TRIES_MAX).map(|_| fastrand::u16(pool.clone())).find(|port| is_free(*port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{Ipv4Addr, TcpListener};

    use super::{free_port, pick, pool_below};

    #[test]
    fn ports_lie_below_the_range_from_which_clients_get_theirs() {
        for (ephemeral_range, pool) in [
            ("32768\t60999\n", 15_000..=31_999),
            ("20000\t65535\n", 15_000..=19_999),
            ("1024\t65535\n", 15_000..=31_999),
            ("", 15_000..=31_999),
            ("unreadable", 15_000..=31_999),
        ] {
            assert_eq!(pool_below(ephemeral_range), pool, "{ephemeral_range:?}");
        }
    }

    #[test]
    fn an_occupied_port_is_passed_over() {
        assert_eq!(pick(&(20_000..=20_009), |port| port == 20_007), Some(20_007));
        assert_eq!(pick(&(20_000..=20_009), |_| false), None);
    }

    #[test]
    fn a_free_port_can_be_bound_and_is_not_one_already_taken() {
        let first = free_port(&[]).unwrap();
        let second = free_port(&[first]).unwrap();
        assert_ne!(first, second);
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, second)).is_ok());
    }
}
