//! Every surface by which something comes in that the product did not write itself, as a function of bytes. Each reads
//! what it is given to its end, or refuses it with words; what was read of Avro is written and read again to the same.
//!
//! `tests/surfaces.rs` feeds them in each test run, for a moment, with examples of the project after a few edits: chance
//! alone never writes a journey.

#![allow(clippy::unwrap_used, clippy::panic)]

mod text;
mod wire;

pub use text::{
    consumers, journey, lift, migration_plan, partner, policy, rules_of_the_bank, scenario, topics,
};
pub use wire::{avro_body, bodies, envelope, envelopes, headers, journal_records, json_line, rows};

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A change to an example: where (a fraction of its length in 65,536ths), how many bytes go, and what comes instead.
pub type Edit = (u16, u8, Vec<u8>);

/// Most bytes of a surface's input: what is longer teaches nothing more.
const BYTES_MAX: usize = 200_000;

/// The example that a number chooses, after its edits.
#[must_use]
pub fn edited(examples: &[Vec<u8>], which: u8, edits: &[Edit]) -> Vec<u8> {
    let Some(example) = examples.get(usize::from(which) % examples.len().max(1)) else {
        return Vec::new();
    };
    let mut bytes = example.clone();
    for (place, cut, put) in edits {
        let at = (usize::from(*place) * (bytes.len() + 1)) >> 16;
        let end = (at + usize::from(*cut)).min(bytes.len());
        bytes.splice(at..end, put.iter().copied());
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

/// Files of the project, by the end of their name, in every folder below one.
#[must_use]
pub fn files(folder: &str, end: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    collect(&root().join(folder), end, &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has no *{end}");
    found.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn collect(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, end, found);
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn contract() -> &'static signalbox_schemas::Contract {
    signalbox_schemas::Contract::builtin().unwrap()
}

/// A refusal says something.
fn told(error: &impl std::fmt::Display) {
    let words = error.to_string();
    assert!(words.trim().len() > 3, "refused without a word: {words:?}");
}

static CODEC: LazyLock<signalbox_bus::Codec> =
    LazyLock::new(|| signalbox_bus::Codec::offline(contract()));
