//! Counts as floating-point numbers, for reports alone: nothing is decided with them.

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A count for a division; exact below 2^32, which no run reaches.
pub(crate) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// A difference of counters, in parts so that it stays exact beyond 2^32.
pub(crate) fn float(number: i64) -> f64 {
    const PART: i64 = 1 << 31;
    let part = |number: i64| f64::from(i32::try_from(number).unwrap_or(i32::MAX));
    part(number / PART) * f64::from(1_u32 << 31) + part(number % PART)
}

/// A number to so many places behind the point.
pub(crate) fn rounded(number: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places);
    (number * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::{float, rounded};

    #[test]
    fn counters_become_floats_without_loss() {
        for (number, expected) in [(0, 0.0), (7, 7.0), (5_000_000_000, 5e9), (-3, -3.0)] {
            assert!((float(number) - expected).abs() < 1e-6, "{number}");
        }
        assert!((rounded(1.23456, 2) - 1.23).abs() < 1e-9);
    }
}
