//! `signalbox audit verify --export`: an export is verified from its lines alone. No server is asked and no
//! configuration read, so that an auditor can do it on a machine of their own.

use signalbox_store::{Anchor, AnchorPublicKey, ExportCheck, ExportReport};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::commands::wiring;
use crate::error::CliError;
use crate::output;

/// Findings printed at most: one change can be followed by many.
const FINDINGS_MAX: usize = 50;

/// What is there to verify with.
pub(super) struct Offline<'a> {
    pub(super) export: &'a Path,
    pub(super) anchors: Option<&'a Path>,
    pub(super) public_keys: &'a [PathBuf],
}

/// Verifies an export.
pub(super) fn verify(given: &Offline<'_>) -> Result<(), CliError> {
    let mut keys = Vec::new();
    for file in given.public_keys {
        let key = AnchorPublicKey::parse(&wiring::read(file)?);
        keys.push(key.map_err(|error| CliError::Input(format!("{} {error}", file.display())))?);
    }
    let has_key = !keys.is_empty();
    let mut check = ExportCheck::new(keys);
    if let Some(file) = given.anchors {
        for (line, number) in lines(file)?.zip(1_u64..) {
            let line = line?;
            let anchor: Anchor = serde_json::from_str(&line).map_err(|error| {
                CliError::Input(format!("{} line {number} is no anchor: {error}", file.display()))
            })?;
            check.anchor(anchor);
        }
    }
    for line in lines(given.export)? {
        check.line(&line?);
    }
    tell(&check.finish(), has_key)
}

fn lines(
    file: &Path,
) -> Result<impl Iterator<Item = Result<String, CliError>> + use<'_>, CliError> {
    let failed = |source| CliError::File { path: file.to_owned(), source };
    let opened = File::open(file).map_err(failed)?;
    Ok(BufReader::new(opened).lines().map(move |line| line.map_err(failed)))
}

fn tell(report: &ExportReport, has_key: bool) -> Result<(), CliError> {
    for finding in report.findings.iter().take(FINDINGS_MAX) {
        output::line(format_args!("BROKEN {finding}"))?;
    }
    for lane in &report.lanes {
        let proven = match lane.anchored_to {
            Some(seq) => format!("proven by an anchor up to row {seq}"),
            None => "not proven by any anchor".to_owned(),
        };
        let further = match lane.went_on_to {
            Some(seq) => format!("; the lane went on, at least to row {seq}"),
            None => String::new(),
        };
        output::line(format_args!(
            "lane {}: {} rows, {} left out, {proven}{further}",
            lane.lane, lane.rows, lane.left_out
        ))?;
    }
    if !report.findings.is_empty() {
        let count = report.findings.len();
        return Err(CliError::Refused(format!(
            "the export is not as it was written: {count} findings"
        )));
    }
    let rows: u64 = report.lanes.iter().map(|lane| lane.rows).sum();
    if !has_key {
        return output::line(format_args!(
            "the chain over {rows} rows holds in itself; who wrote it is not proven, which needs --public-key"
        ));
    }
    let unproven: u64 = report.lanes.iter().map(|lane| lane.unproven).sum();
    if unproven > 0 {
        return Err(CliError::Refused(format!(
            "{unproven} of {rows} rows are newer than the last anchor and not proven; export again a minute later, with --until where engines are at work"
        )));
    }
    output::line(format_args!("{rows} rows are as they were written, which signed anchors prove"))
}
