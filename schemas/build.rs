//! Refuses to build a contract that contradicts itself, and embeds the contract that it has checked.
//! It deliberately knows nothing of Avro encoding: the rules read the schemas as JSON.

#[path = "src/rules.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod rules;
#[path = "src/topics.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod topics;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The part of a vendor's catalog entry that the contract must not speak.
#[derive(serde::Deserialize)]
struct PartnerWords {
    #[serde(default)]
    vocabulary: Vec<String>,
}

/// The part of a journey that says what starts it; what else it says is not the contract's.
#[derive(serde::Deserialize)]
struct JourneyStart {
    starts_with: Option<String>,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let topics_file = here.join("../topics.yaml");
    let vendors = here.join("../adapters/src/vendors");
    let journeys = here.join("../journeys");
    let released = here.join("released");
    let consumers = here.join("consumers.yaml");
    for watched in [&here.join("avro"), &topics_file, &vendors, &journeys, &released, &consumers] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let schemas = schema_files(&here.join("avro"))?;
    let parsed: Vec<serde_json::Value> =
        schemas.iter().map(|(_, text)| serde_json::from_str(text)).collect::<Result<_, _>>()?;
    let topics_text = fs::read_to_string(&topics_file)?;
    let topics = topics::Topics::parse(&topics_text)?;
    let mut faults = rules::faults(&parsed, &topics, &vendor_words(&vendors)?);
    faults.extend(rules::unclear_subjects(&parsed, &starting(&journeys)?));
    if !faults.is_empty() {
        return Err(format!("the contract is not sound:\n  - {}", faults.join("\n  - ")).into());
    }
    let mut code = embedded(&schemas, &topics_file)?;
    writeln!(
        code,
        "pub(crate) const CONSUMERS: &str = include_str!({:?});",
        consumers.canonicalize()?
    )?;
    code.push_str(&history(&released)?);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("embedded.rs"), code)?;
    Ok(())
}

/// Every `.avsc` below the folder, by path, in a stable order.
fn schema_files(folder: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|found| found.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "avsc"));
    files.sort();
    files.into_iter().map(|path| Ok((path.clone(), fs::read_to_string(&path)?))).collect()
}

/// Records that start journeys.
fn starting(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut records = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let text = fs::read_to_string(&path)?;
            records.extend(serde_saphyr::from_str::<JourneyStart>(&text)?.starts_with);
        }
    }
    Ok(records)
}

/// The names of the vendors, and the words that their catalog entries call their own.
fn vendor_words(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(words) };
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        words.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        if let Ok(text) = fs::read_to_string(path.join("partner.yaml")) {
            words.extend(serde_saphyr::from_str::<PartnerWords>(&text)?.vocabulary);
        }
    }
    Ok(words)
}

fn embedded(schemas: &[(PathBuf, String)], topics: &Path) -> Result<String, Failure> {
    let mut code = String::from("pub(crate) const AVRO: &[&str] = &[\n");
    for (path, _) in schemas {
        writeln!(code, "    include_str!({:?}),", path.canonicalize()?)?;
    }
    writeln!(
        code,
        "];\npub(crate) const TOPICS: &str = include_str!({:?});",
        topics.canonicalize()?
    )?;
    Ok(code)
}

/// Released versions: `released/<full name>/<version>.avsc`.
fn history(folder: &Path) -> Result<String, Failure> {
    let mut code = String::from("pub(crate) const RELEASED: &[(&str, u32, &str)] = &[\n");
    let mut records: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|found| found.path()))
        .collect::<Result<_, _>>()?;
    records.retain(|path| path.is_dir());
    records.sort();
    for record in records {
        let name = record.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        for (path, _) in schema_files(&record)? {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let version: u32 = stem.parse().map_err(|_| {
                format!("{}: is not named after a version, such as 1.avsc", path.display())
            })?;
            writeln!(code, "    ({name:?}, {version}, include_str!({:?})),", path.canonicalize()?)?;
        }
    }
    code.push_str("];\n");
    Ok(code)
}
