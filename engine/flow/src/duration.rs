//! Lengths of time as journeys write them: a whole number and a unit, `200ms`, `10s`, `15m`, `48h`, `5d`.
//! It knows no calendar: a day is 24 hours.

use std::time::Duration;

/// Parses a length of time. `None` where it is not one.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let split = text.find(|sign: char| !sign.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(split)?;
    let number: u64 = number.parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(60 * 60),
        "d" => seconds(24 * 60 * 60),
        _ => None,
    }
}

/// A length of time as a journey would write it, with as many units as it takes: `2d`, `1h 30m`, `200ms`.
pub(crate) fn told(time: Duration) -> String {
    const UNITS: [(&str, u128); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = time.as_millis();
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        if rest >= size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("10s", 10), ("15m", 900), ("48h", 172_800), ("5d", 432_000)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("200ms"), Some(Duration::from_millis(200)));
        for text in [
            "",
            "5",
            "d",
            "5 d",
            "-5d",
            "5w",
            "1.5h",
            "99999999999999999999d",
            "99999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_length_of_time_is_told_in_its_largest_units() {
        for (millis, text) in [
            (0, "0s"),
            (200, "200ms"),
            (90_000, "1m 30s"),
            (90_000_000, "1d 1h"),
            (1_001, "1s 1ms"),
        ] {
            assert_eq!(told(Duration::from_millis(millis)), text);
        }
    }
}
