//! `signalbox audit verify` in the database: walks every lane's hash chain from its first row to the lane's own record of
//! its last one. An export is verified by `offline`.

use clap::Args;
use signalbox_schemas::LaneId;
use signalbox_store::{GENESIS, LaneStatus, Reader, verify};
use std::path::PathBuf;

use super::offline::Offline;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

/// Rows read at once.
const PAGE: i64 = 5_000;

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Only this lane of the database
    #[arg(long, value_name = "N", conflicts_with = "export")]
    lane: Option<u16>,
    /// Verify this export instead of the database
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Anchors that were kept elsewhere, besides those of the export
    #[arg(long, value_name = "FILE", requires = "export", requires = "public_key")]
    anchors: Option<PathBuf>,
    /// File with the public key that checks anchors; give it again for a key of earlier days
    #[arg(long, value_name = "FILE", requires = "export")]
    public_key: Vec<PathBuf>,
}

impl VerifyArgs {
    /// What to verify without a server, where that was asked for.
    pub(super) fn offline(&self) -> Option<Offline<'_>> {
        let export = self.export.as_deref()?;
        Some(Offline { export, anchors: self.anchors.as_deref(), public_keys: &self.public_key })
    }
}

/// Verifies the database.
pub(super) async fn run(args: &VerifyArgs, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let lanes = reader.lanes().await?;
    let chosen: Vec<&LaneStatus> = lanes
        .iter()
        .filter(|lane| args.lane.is_none_or(|wanted| lane.lane == LaneId(wanted)))
        .collect();
    if chosen.is_empty() {
        return Err(CliError::Input("there is no such lane".to_owned()));
    }
    let (mut rows, mut broken) = (0_i64, 0_u32);
    for lane in &chosen {
        match verify_lane(&reader, lane).await? {
            Ok(checked) => {
                rows += checked;
                output::line(format_args!("lane {}: {checked} rows, chain intact", lane.lane))?;
            }
            Err(reason) => {
                broken += 1;
                output::line(format_args!("BROKEN {reason}"))?;
            }
        }
    }
    if broken == 0 {
        return output::line(format_args!(
            "{rows} rows in {} lanes are as they were written",
            chosen.len()
        ));
    }
    Err(CliError::Refused(format!("the journal of {broken} lanes is not as it was written")))
}

/// Rows checked, or the first break in words. Rows that are added meanwhile are not looked at.
async fn verify_lane(reader: &Reader, lane: &LaneStatus) -> Result<Result<i64, String>, CliError> {
    let mut seq = 0;
    let mut hash = GENESIS.to_vec();
    while seq < lane.journal_seq {
        let at_most = usize::try_from(PAGE.min(lane.journal_seq - seq)).unwrap_or(1);
        let rows = reader.journal_after(lane.lane, seq, at_most).await?;
        if rows.is_empty() {
            let reason = format!(
                "lane {}: the journal ends with row {seq}, the lane has written {}",
                lane.lane, lane.journal_seq
            );
            return Ok(Err(reason));
        }
        match verify(&rows, seq, &hash) {
            Ok((last, head)) => (seq, hash) = (last, head),
            Err(broken) => return Ok(Err(broken.to_string())),
        }
    }
    // A lane that has written nothing has no head yet.
    if lane.journal_seq > 0 && hash != lane.journal_head {
        return Ok(Err(format!(
            "lane {}: row {seq} does not have the hash that the lane remembers: the chain was rewritten",
            lane.lane
        )));
    }
    strangers(reader, lane.lane, seq).await
}

/// Rows behind the one that the lane remembered: an engine that runs has moved the lane on by them; nobody else may.
async fn strangers(
    reader: &Reader,
    lane: LaneId,
    checked: i64,
) -> Result<Result<i64, String>, CliError> {
    let Some(next) = reader.journal_after(lane, checked, 1).await?.pop() else {
        return Ok(Ok(checked));
    };
    let now = reader.lanes().await?.into_iter().find(|status| status.lane == lane);
    if now.is_some_and(|status| status.journal_seq >= next.seq) {
        return Ok(Ok(checked));
    }
    Ok(Err(format!("lane {lane}: row {} was added, the lane has not written it", next.seq)))
}
