//! Structure as tests: what may use what, which words may stand where, and that documents name what exists.
//! It reads the files of the tree as text and starts nothing; what the code does is proven by other tests.
//! Each test says what is wrong, where, and what to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;

#[path = "tidy/contract.rs"]
mod contract;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{
    File, dependencies, find, folders, members, names, own_name, read, report, root, rust, tests,
    tree,
};

/// Folder of a package, and the packages of ours that it may use. A new package needs a line here and a reason.
const EDGES: [(&str, &[&str]); 15] = [
    ("schemas", &[]),
    // Services of other teams take it: it must bring nothing with it.
    ("consumers/rust", &[]),
    ("engine/flow", &["schemas"]),
    ("engine/bus", &["schemas"]),
    ("engine/store", &["schemas"]),
    // It knows keys and bytes: neither tables nor topics.
    ("engine/vault", &["schemas"]),
    ("engine/worker", &["schemas", "flow", "bus", "store", "vault"]),
    ("engine/edge", &["schemas", "bus", "store"]),
    ("adapters", &["schemas", "bus", "store", "vault"]),
    ("adapters/sandbox", &[]),
    ("engine/signalbox", ALL),
    ("integration-tests", ALL),
    // It judges the others from outside, so it shares nothing with them.
    ("integration-tests/checker", &[]),
    // It feeds what comes from outside to whatever reads it.
    ("integration-tests/fuzz", &["schemas", "bus", "flow", "worker", "adapters"]),
    // It runs the rules that are pure, and nothing that reads, sends or stores.
    ("integration-tests/model", &["schemas", "store", "adapters", "consumer"]),
];
const ALL: &[&str] = &[
    "schemas",
    "flow",
    "bus",
    "store",
    "vault",
    "worker",
    "edge",
    "adapters",
    "sandbox",
    "signalbox",
    "consumer",
    "checker",
];
/// Edges that only tests of a package have.
const TEST_EDGES: [(&str, &[&str]); 1] = [("adapters", &["sandbox"])];

/// What a package must not depend on, and why.
const FORBIDDEN: [(&str, &[&str], &str); 4] = [
    (
        "engine/flow",
        &["tokio", "rdkafka", "sqlx", "rand", "fastrand", "reqwest", "tracing", "metrics", "jiff"],
        "decisions are pure: time, randomness and I/O are arguments or somebody else's work",
    ),
    ("schemas", &["tokio", "rdkafka", "sqlx", "reqwest"], "the contract does nothing"),
    (
        "engine/vault",
        &["tokio", "sqlx", "rdkafka", "apache-avro", "tracing"],
        "keys are never logged, and where they lie is the store's matter",
    ),
    ("engine/worker", &["axum", "reqwest", "sqlx", "rdkafka"], "it works through bus and store"),
];

/// Client libraries and the packages that may use them.
const CLIENTS: [(&str, &[&str]); 3] = [
    // The checker reads as anybody else would.
    ("rdkafka", &["engine/bus", "integration-tests/checker"]),
    ("sqlx", &["engine/store"]),
    ("schema_registry_converter", &["engine/bus"]),
];

/// Files that read metrics of other processes from outside, as an operator would, and why.
const METRIC_READERS: [(&str, &str); 1] =
    [("engine/signalbox/src/bench/meter.rs", "sizes of batches, for the bound")];

/// Words that make a text an SQL statement.
const SQL: [&str; 9] = [
    "SELECT ",
    "INSERT INTO ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "ALTER TABLE ",
    "DROP TABLE ",
    "TRUNCATE ",
    "UPDATE ",
    "WITH RECURSIVE ",
];

/// Parts of a journey after its opening comment and its head, in order.
const JOURNEY_HEAD: [&str; 4] = ["journey", "version", "starts_with", "aggregate"];
const JOURNEY_BODY: [&str; 4] = ["states", "compensation", "endings", "invariants"];

const LINES_MAX: usize = 1_000;

#[test]
fn packages_use_only_what_their_room_allows() {
    let mut faults = Vec::new();
    let members = members();
    for member in &members {
        let Some(allowed) = find(&EDGES, member) else {
            faults.push(format!("{member}: is not listed in EDGES of tidy.rs; add it with what it may use, or remove it"));
            continue;
        };
        let for_tests = find(&TEST_EDGES, member).unwrap_or(&[]);
        for (section, dependency) in dependencies(member) {
            let Some(name) = own_name(&dependency) else { continue };
            let is_test = section == "dev-dependencies";
            if !(allowed.contains(&name) || is_test && for_tests.contains(&name)) {
                faults.push(format!("{member}/Cargo.toml: [{section}] uses {dependency}, which its room forbids; move the code or use what the room allows: {allowed:?}"));
            }
        }
    }
    for (member, _) in EDGES {
        if !members.iter().any(|known| known == member) {
            faults.push(format!("Cargo.toml: {member} is listed in EDGES of tidy.rs and is no member; correct one of them"));
        }
    }
    report("package edges", &faults);
}

#[test]
fn the_deciding_crate_cannot_do_anything() {
    let mut faults = Vec::new();
    for (member, forbidden, why) in FORBIDDEN {
        for (section, dependency) in dependencies(member) {
            if section == "dependencies" && forbidden.contains(&dependency.as_str()) {
                faults.push(format!(
                    "{member}/Cargo.toml: depends on {dependency}; remove it, because {why}"
                ));
            }
        }
    }
    report("purity", &faults);
}

#[test]
fn clients_of_servers_live_in_one_package_each() {
    let mut faults = Vec::new();
    for member in members() {
        for (_, dependency) in dependencies(&member) {
            let Some(owners) = find(&CLIENTS, &dependency) else { continue };
            if !owners.contains(&member.as_str()) && member != "integration-tests" {
                faults.push(format!("{member}/Cargo.toml: depends on {dependency}, which belongs to {owners:?}; ask that package for what you need"));
            }
        }
    }
    for file in rust() {
        let owned = file.path.starts_with("engine/bus/") || file.is_test();
        for (number, line) in file.product_lines() {
            if line.contains("rdkafka::") && !owned {
                faults.push(format!("{}:{number}: names rdkafka; use engine/bus", file.path));
            }
        }
    }
    report("clients", &faults);
}

#[test]
fn sql_is_written_in_the_store_alone() {
    let mut faults = Vec::new();
    for file in rust() {
        if file.path.starts_with("engine/store/") || file.is_test() {
            continue;
        }
        for (number, line) in file.product_lines() {
            let quoted = |word: &&&str| {
                line.contains(&format!("\"{word}")) || line.trim_start().starts_with(**word)
            };
            if let Some(word) = SQL.iter().find(quoted) {
                faults.push(format!(
                    "{}:{number}: has an SQL statement ({}); move it to engine/store/src/tables",
                    file.path,
                    word.trim()
                ));
            }
        }
    }
    report("SQL outside engine/store", &faults);
}

#[test]
fn no_vendor_is_named_outside_its_room() {
    let vendors: Vec<String> =
        folders("adapters/src/vendors").into_iter().filter(|name| name != "instant").collect();
    assert!(
        !vendors.is_empty(),
        "adapters/src/vendors: no vendor was found; this test looks at the wrong place"
    );
    let mut faults = Vec::new();
    for file in tree(&["rs", "yaml", "avsc", "sql"]) {
        if ["adapters/", "deploy/", "docs/"].iter().any(|room| file.path.starts_with(room)) {
            continue;
        }
        for (number, line) in file.lines() {
            if let Some(vendor) = vendors.iter().find(|vendor| names(line, vendor)) {
                faults.push(format!("{}:{number}: names the vendor {vendor:?}; use the capability's word, or data under deploy/", file.path));
            }
        }
    }
    report("vendor names", &faults);
}

#[test]
fn metric_names_are_constants_of_metrics_files() {
    let known = metrics();
    let mut faults = Vec::new();
    for file in rust() {
        if file.path.ends_with("/metrics.rs") || file.is_test() {
            continue;
        }
        let reads = find(&METRIC_READERS, &file.path).is_some();
        for (number, line) in file.product_lines() {
            let Some((_, rest)) = line.split_once("\"signalbox_") else { continue };
            let name = format!("signalbox_{}", rest.split('"').next().unwrap_or_default());
            if !reads {
                faults.push(format!("{}:{number}: spells the metric {name}; make it a constant of the package's metrics.rs", file.path));
            } else if !known.contains(&name) {
                faults.push(format!("{}:{number}: reads the metric {name}, which no metrics.rs defines; correct the name", file.path));
            }
        }
    }
    report("metric names", &faults);
}

#[test]
fn every_metric_is_explained_to_operators() {
    let page = read("docs/operations.md");
    let explained: BTreeSet<String> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.starts_with("signalbox_"))
        .map(str::to_owned)
        .collect();
    let known = metrics();
    let mut faults: Vec<String> = known
        .difference(&explained)
        .map(|name| {
            format!("docs/operations.md: does not explain {name}; add it to the table of metrics")
        })
        .collect();
    faults.extend(explained.difference(&known).map(|name| {
        format!(
            "docs/operations.md: explains {name}, which no metrics.rs defines; remove or correct it"
        )
    }));
    report("explained metrics", &faults);
}

/// Names of all metrics, as the packages' metrics.rs define them.
fn metrics() -> BTreeSet<String> {
    let files = rust().into_iter().filter(|file| file.path.ends_with("/metrics.rs"));
    let names = |file: File| -> Vec<String> {
        file.text
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|word| word.starts_with("signalbox_"))
            .map(str::to_owned)
            .collect()
    };
    files.flat_map(names).collect()
}

#[test]
fn every_file_says_what_it_is() {
    let faults: Vec<String> = rust()
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| format!("{}: does not begin with `//!`; say what the file is and what it deliberately does not do", file.path))
        .collect();
    report("first lines", &faults);
}

#[test]
fn every_package_takes_the_workspace_s_lints_and_describes_itself() {
    let mut faults = Vec::new();
    for member in members() {
        let manifest = read(&format!("{member}/Cargo.toml"));
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{member}/Cargo.toml: add `[lints]` with `workspace = true`"));
        }
        if !manifest.contains("\ndescription = \"") || manifest.contains("\ndescription = \"\"") {
            faults.push(format!(
                "{member}/Cargo.toml: has no description; say in one line what the package is"
            ));
        }
    }
    report("manifests", &faults);
}

#[test]
fn nothing_is_left_undone() {
    let marks = [
        concat!("#[ign", "ore"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
    ];
    let mut faults = Vec::new();
    for file in tree(&["rs", "yaml", "avsc", "sql", "md", "sh", "py"]) {
        for (number, line) in file.lines() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                faults.push(format!(
                    "{}:{number}: says {mark:?}; finish it, or remove it and open an issue",
                    file.path
                ));
            }
        }
    }
    report("unfinished work", &faults);
}

#[test]
fn every_vendor_folder_has_the_same_parts() {
    let parts = [
        "//! ",
        "const NAME",
        "LISTING",
        "struct Config",
        "fn build",
        "impl ",
        "#[cfg(test)]\nmod tests",
    ];
    let listed = read("adapters/src/vendors/mod.rs");
    let mut faults = Vec::new();
    for vendor in folders("adapters/src/vendors") {
        let home = format!("adapters/src/vendors/{vendor}");
        if !listed.contains(&format!("mod {vendor};")) {
            faults.push(format!(
                "{home}: is not registered; add `mod {vendor};` and its LISTING to vendors/mod.rs"
            ));
        }
        // The vendor inside the process has no wire and so no recorded bodies.
        let wanted: &[&str] = if vendor == "instant" {
            &["mod.rs", "partner.yaml"]
        } else {
            &["mod.rs", "partner.yaml", "fixtures"]
        };
        faults.extend(
            wanted
                .iter()
                .filter(|part| !root().join(&home).join(part).exists())
                .map(|part| format!("{home}: has no {part}; add it")),
        );
        let text = fs::read_to_string(root().join(&home).join("mod.rs")).unwrap_or_default();
        let places: Vec<Option<usize>> = parts.iter().map(|part| text.find(part)).collect();
        if places.iter().any(Option::is_none) || !places.is_sorted() {
            faults.push(format!("{home}/mod.rs: its parts must stand in this order: {parts:?}"));
        }
    }
    report("vendor folders", &faults);
}

#[test]
fn every_journey_has_the_same_parts_in_the_same_order() {
    // Beside the journeys lie the bank's invariants, and in folders the scenarios.
    let is_journey = |file: &File| {
        let name = file.path.strip_prefix("journeys/");
        name.is_some_and(|name| !name.contains('/') && name != "invariants.yaml")
    };
    let journeys: Vec<File> = tree(&["yaml"]).into_iter().filter(is_journey).collect();
    assert!(
        !journeys.is_empty(),
        "journeys: no journey was found; this test looks at the wrong place"
    );
    let mut faults = Vec::new();
    for file in journeys {
        if !file.text.starts_with("# ") {
            faults.push(format!("{}: must begin with a comment that says what it is for and what it leaves to others", file.path));
        }
        let keys: Vec<&str> = file
            .lines()
            .filter(|(_, line)| line.starts_with(|first: char| first.is_ascii_lowercase()))
            .filter_map(|(_, line)| line.split_once(':'))
            .map(|(key, _)| key)
            .collect();
        let head: Vec<&str> = keys.iter().copied().take(JOURNEY_HEAD.len()).collect();
        let body: Vec<&str> = keys.iter().rev().take(JOURNEY_BODY.len()).rev().copied().collect();
        if head != JOURNEY_HEAD || body != JOURNEY_BODY {
            faults.push(format!("{}: must begin with {JOURNEY_HEAD:?} and end with {JOURNEY_BODY:?}, in this order; it has {keys:?}", file.path));
        }
    }
    report("journeys", &faults);
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let faults: Vec<String> = tree(&["rs", "yaml", "sql", "md", "sh", "py", "toml"])
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| {
            format!("{}: has {lines} lines; divide it, {LINES_MAX} is the most", file.path)
        })
        .collect();
    report("long files", &faults);
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    let places = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mut faults = Vec::new();
    for file in tree(&[
        "rs", "yaml", "avsc", "sql", "md", "sh", "py", "toml", "json", "csv", "xml", "env", "run",
        "Makefile",
    ]) {
        for (number, line) in file.lines() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                faults.push(format!("{}:{number}: names {place}; say it relative to the repository or take it from the environment", file.path));
            }
        }
    }
    report("absolute paths", &faults);
}

#[test]
fn every_invariant_is_held_by_something_that_exists() {
    let text = read("docs/architecture.md");
    let held: BTreeSet<String> = rust().iter().flat_map(|file| tests(&file.text)).collect();
    let lints = format!(
        "{}{}",
        read("Cargo.toml"),
        fs::read_to_string(root().join("clippy.toml")).unwrap_or_default()
    );
    let invariants: Vec<&str> = text
        .split("\n- **I-")
        .skip(1)
        .map(|item| item.split("\n\n").next().unwrap_or(item))
        .collect();
    assert!(
        invariants.len() >= 12,
        "docs/architecture.md: has {} invariants, 12 at least are wanted, each as `- **I-n Title.**`",
        invariants.len()
    );
    let mut faults = Vec::new();
    for (index, item) in invariants.iter().enumerate() {
        let name = format!("docs/architecture.md: I-{}", index + 1);
        if !item.starts_with(&format!("{} ", index + 1)) {
            faults.push(format!(
                "{name}: is missing or out of order; number invariants from 1 without gaps"
            ));
        }
        let Some((_, held_by)) = item.split_once("Held by:") else {
            faults.push(format!(
                "{name}: does not say what holds it; end it with `Held by:` and names in backticks"
            ));
            continue;
        };
        let holders: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        if holders.is_empty() {
            faults.push(format!(
                "{name}: names nothing after `Held by:`; name a test, a lint or a file"
            ));
        }
        let stands = |holder: &&&str| {
            !(held.contains(**holder)
                || lints.contains(&format!("\n{holder} = "))
                || holder.contains('/') && root().join(holder).exists())
        };
        faults.extend(holders.iter().filter(stands).map(|holder| format!("{name}: `{holder}` is no test, no lint and no file; name what holds the invariant now")));
    }
    report("invariants", &faults);
}

#[test]
fn every_decision_is_recorded_in_the_same_form() {
    let mut faults = Vec::new();
    for file in tree(&["md"]).iter().filter(|file| file.path.starts_with("docs/adr/")) {
        let places: Vec<Option<usize>> = ["# ", "## Context", "## Decision", "## Consequences"]
            .iter()
            .map(|part| file.text.find(part))
            .collect();
        if places.iter().any(Option::is_none) || !places.is_sorted() {
            faults.push(format!(
                "{}: needs a title, then Context, Decision and Consequences",
                file.path
            ));
        }
    }
    report("decision records", &faults);
}

#[test]
fn planted_bugs_still_apply_and_name_the_rule_that_they_break() {
    report("planted bugs", &planted::faults());
}

#[test]
fn documents_lead_to_files_that_exist() {
    let mut faults = Vec::new();
    for file in tree(&["md"]) {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap_or_default();
                if !path.is_empty() && !target.contains("://") && !folder.join(path).exists() {
                    faults.push(format!(
                        "{}:{number}: leads to {target}, which does not exist; correct the link",
                        file.path
                    ));
                }
            }
        }
    }
    report("links", &faults);
}

#[test]
fn the_commands_of_every_day_are_named_and_run_by_ci() {
    let readme = read("README.md");
    let makefile = read("Makefile");
    for command in ["demo", "test"] {
        assert!(
            readme.contains(&format!("`make {command}`")),
            "README.md: does not name `make {command}`; say what it does and needs"
        );
    }
    let missing: Vec<&str> = readme
        .split("`make ")
        .skip(1)
        .filter_map(|rest| rest.split(['`', ' ']).next())
        .filter(|target| !makefile.contains(&format!("\n{target}:")))
        .collect();
    assert!(
        missing.is_empty(),
        "README.md: names make targets that the Makefile does not have: {missing:?}"
    );
    assert!(
        read(".ci/run").contains("make test"),
        ".ci/run: does not run `make test`; CI must run what people run"
    );
    assert!(
        read("CHANGELOG.md").contains("## [Unreleased]"),
        "CHANGELOG.md: has no [Unreleased] part; add one"
    );
    assert!(read("LICENSE").contains("Apache License"), "LICENSE: is not the Apache licence");
}
