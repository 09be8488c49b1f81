//! The figures of one peer as one line of JSON, with the names that `signalbox bench --json` uses.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::load::Figures;

/// Prints the line.
pub(crate) fn print(name: &str, figures: &Figures) {
    println!("{}", line(name, figures));
}

fn line(name: &str, figures: &Figures) -> Value {
    let cpu: Map<String, Value> = figures
        .cpu
        .iter()
        .map(|(part, time)| ((*part).to_owned(), rounded(millis(*time), 4).into()))
        .collect();
    let flows = f64::from(u32::try_from(figures.flows).unwrap_or(u32::MAX));
    json!({
        "name": name,
        "flows_measured": figures.flows,
        "flows_per_s": rounded(flows / figures.within.as_secs_f64(), 1),
        "p50_ms": rounded(millis(quantile(&figures.times, 50)), 2),
        "p99_ms": rounded(millis(quantile(&figures.times, 99)), 2),
        "cpu_ms_per_flow": cpu,
    })
}

/// The time within which `per_cent` of all lie (nearest rank); zero where there are none.
fn quantile(sorted: &[Duration], per_cent: usize) -> Duration {
    let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn rounded(number: f64, places: i32) -> f64 {
    let factor = 10_f64.powi(places);
    (number * factor).round() / factor
}

#[cfg(test)]
mod tests {
    use super::{Figures, line};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_line_has_the_names_and_units_of_our_own_benchmark() {
        let figures = Figures {
            flows: 3_000,
            within: Duration::from_secs(2),
            cpu: vec![("server", Duration::from_micros(1_234))],
            times: (1..=100).map(Duration::from_millis).collect(),
        };
        let expected = json!({
            "name": "a peer", "flows_measured": 3_000, "flows_per_s": 1_500.0, "p50_ms": 50.0,
            "p99_ms": 99.0, "cpu_ms_per_flow": {"server": 1.234},
        });
        assert_eq!(line("a peer", &figures), expected);
    }
}
