//! Every implementation of the consumers' rule says the same of the same records: this package, and the Java program of
//! the documentation, which is run as it stands there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use signalbox_consumer::{ConsumerRule, Sighting, Stream, Verdict};
use std::path::{Path, PathBuf};
use std::process::Command;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The shared sightings with the verdict that each must get.
fn sightings() -> Vec<(Sighting, String)> {
    let text = std::fs::read_to_string(checkout().join("consumers/sightings.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let part: Vec<&str> = line.split('\t').collect();
            let stream = Stream {
                topic: part[0].to_owned(),
                partition: part[1].parse().unwrap(),
                lane: part[2].parse().unwrap(),
            };
            let mut content = [0; 32];
            content[..part[5].len()].copy_from_slice(part[5].as_bytes());
            let (lane_seq, prev_seq) = (part[3].parse().unwrap(), part[4].parse().unwrap());
            (Sighting { stream, lane_seq, prev_seq, content }, part[6].to_owned())
        })
        .collect()
}

#[test]
fn rust_says_what_is_written() {
    let mut rule = ConsumerRule::new();
    for (seen, expected) in sightings() {
        let verdict = match rule.judge(&seen) {
            Verdict::Apply => "apply",
            Verdict::Duplicate => "duplicate",
            Verdict::Altered => "altered",
            Verdict::Gap { .. } => "gap",
        };
        assert_eq!(verdict, expected, "{seen:?}");
    }
}

#[test]
fn java_says_what_is_written() {
    let program = checkout().join("docs/clients/java/ConsumerRule.java");
    let ran = Command::new("java")
        .arg(&program)
        .arg(checkout().join("consumers/sightings.tsv"))
        .output()
        .expect("java 17 or newer must be on the path");
    let words = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{words}");
    let told = String::from_utf8(ran.stdout).unwrap();
    let expected: Vec<String> = sightings().into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}
