//! Refuses to build a contract that contradicts itself, and embeds the contract that it has checked.
//! It deliberately knows nothing of Avro encoding: the rules read the schemas as JSON.

#[path = "src/lift.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod lift;
#[path = "src/rules.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod rules;
#[path = "src/topics.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod topics;
#[path = "src/types.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod types;

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
    let (avro, lifts) = (here.join("avro"), here.join("lifts"));
    for watched in [&avro, &lifts, &topics_file, &vendors, &journeys, &released, &consumers] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
    let schemas = files(&avro, "avsc")?;
    let lifts = files(&lifts, "yaml")?;
    let docs: Vec<lift::LiftDoc> = lifts
        .iter()
        .map(|(path, text)| {
            lift::LiftDoc::parse(text).map_err(|error| format!("{}: {error}", path.display()))
        })
        .collect::<Result<_, _>>()?;
    let parsed: Vec<serde_json::Value> =
        schemas.iter().map(|(_, text)| serde_json::from_str(text)).collect::<Result<_, _>>()?;
    let topics_text = fs::read_to_string(&topics_file)?;
    let topics = topics::Topics::parse(&topics_text)?;
    let mut faults = rules::faults(&parsed, &topics, &vendor_words(&vendors)?);
    faults.extend(lift::lift_faults(&docs, &parsed, &topics));
    faults.extend(rules::vague_deprecations(&topics, &|record| lift::lifted_to(&docs, record)));
    let mut starting = starting(&journeys)?;
    // An older major of a record that starts a journey starts it, too.
    let older = docs.iter().map(|doc| doc.from.clone());
    let leads = |record: &String| {
        lift::lifted_to(&docs, record).iter().any(|newer| starting.contains(newer))
    };
    let older: Vec<String> = older.filter(leads).collect();
    starting.extend(older);
    faults.extend(rules::unclear_subjects(&parsed, &starting));
    if !faults.is_empty() {
        return Err(format!("the contract is not sound:\n  - {}", faults.join("\n  - ")).into());
    }
    let mut code = embedded("AVRO", &schemas)?;
    code.push_str(&embedded("LIFTS", &lifts)?);
    writeln!(
        code,
        "pub(crate) const TOPICS: &str = include_str!({:?});",
        topics_file.canonicalize()?
    )?;
    writeln!(
        code,
        "pub(crate) const CONSUMERS: &str = include_str!({:?});",
        consumers.canonicalize()?
    )?;
    code.push_str(&history(&released)?);
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("embedded.rs"), code)?;
    Ok(())
}

/// Every file of the folder with this ending, by path, in a stable order.
fn files(folder: &Path, ending: &str) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|found| found.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
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

fn embedded(name: &str, files: &[(PathBuf, String)]) -> Result<String, Failure> {
    let mut code = format!("pub(crate) const {name}: &[&str] = &[\n");
    for (path, _) in files {
        writeln!(code, "    include_str!({:?}),", path.canonicalize()?)?;
    }
    code.push_str("];\n");
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
        for (path, _) in files(&record, "avsc")? {
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
