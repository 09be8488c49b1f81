//! The dashboard and the alerts under deploy/observability speak of metrics that the code emits, and every expression is
//! one that Prometheus understands. Prometheus' own `promtool` judges; nothing is started.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ALERTS: &str = "deploy/observability/alerts.yaml";
const DASHBOARD: &str = "deploy/observability/dashboard.json";
/// Modules that define metrics; tidy sees to it that no other does.
const METRICS: [&str; 2] = ["engine/worker/src/metrics.rs", "adapters/src/metrics.rs"];
/// What Prometheus makes of a histogram.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Words that begin as our metrics do.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| {
        !(letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    })
    .filter(|word| word.starts_with("signalbox_"))
    .map(|word| {
        let histogram = OF_HISTOGRAMS.iter().find_map(|suffix| word.strip_suffix(suffix));
        histogram.unwrap_or(word).to_owned()
    })
    .collect()
}

fn known() -> BTreeSet<String> {
    METRICS.iter().flat_map(|file| metrics_in(&read(file))).collect()
}

fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard.get("panels").and_then(Value::as_array).unwrap();
    let targets = panels.iter().flat_map(|panel| panel.get("targets").unwrap().as_array().unwrap());
    targets.map(|target| target.get("expr").unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn dashboard_and_alerts_speak_of_metrics_that_exist() {
    let known = known();
    for file in [ALERTS, DASHBOARD] {
        let named = metrics_in(&read(file));
        assert!(!named.is_empty(), "{file} names no metric");
        let strange: Vec<&String> = named.difference(&known).collect();
        assert!(strange.is_empty(), "{file} names metrics that no code emits: {strange:?}");
    }
}

#[test]
fn every_alert_says_how_urgent_it_is_and_what_to_do() {
    let rules: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    let groups = rules.get("groups").and_then(Value::as_array).unwrap();
    for rule in groups.iter().flat_map(|group| group.get("rules").unwrap().as_array().unwrap()) {
        let text = |part: &str, name: &str| {
            rule.get(part)
                .and_then(|part| part.get(name))
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        assert!(matches!(text("labels", "severity"), "page" | "ticket"), "{rule}");
        for name in ["summary", "description"] {
            assert!(text("annotations", name).len() > 10, "{rule} has no {name}");
        }
    }
}

#[test]
fn promtool_understands_the_alerts() {
    check_rules(&root().join(ALERTS));
}

#[test]
fn promtool_understands_the_dashboard() {
    // As recording rules, with what Grafana puts in the place of its variable.
    let rules: Vec<Value> = expressions()
        .iter()
        .zip(1..)
        .map(|(expression, number)| {
            json!({"record": format!("panel:{number}"), "expr": expression.replace("$__rate_interval", "5m")})
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yaml");
    // JSON is YAML.
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string())
        .unwrap();
    check_rules(&file);
}

fn check_rules(file: &Path) {
    let ran = Command::new("promtool").arg("check").arg("rules").arg(file).output();
    let ran = ran.unwrap_or_else(|error| {
        panic!("promtool cannot be run ({error}); `make prerequisites` says how to get it")
    });
    let told = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}: {told}", file.display());
}
