//! `signalbox audit export`: chosen rows of the journal with everything that proves them. Rows that were not chosen are
//! read too, for the digest of their content, and never written.

use clap::Args;
use signalbox_schemas::{FlowId, LaneId, Micros};
use signalbox_store::{
    Anchor, ExportHeader, ExportLine, GENESIS, JournalRow, JournalSpan, Reader, Stretch, left_out,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use super::anchors::Shelf;
use crate::commands::subject::Customer;
use crate::commands::wiring;
use crate::config::{Config, ConfigError};
use crate::error::CliError;
use crate::output;

/// Rows read at once, and most rows that one line leaves out.
const PAGE: usize = 1_000;

/// What to export; without a choice everything.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Rows about one flow, by business id or flow id
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "from", "until"])]
    flow: Option<String>,
    /// Rows about every flow of a customer, or of a business id
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "until"])]
    subject: Option<String>,
    /// Tenant whose customer it is
    #[arg(long, value_name = "NAME", default_value = "default", requires = "subject")]
    tenant: String,
    /// Rows from this instant on
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    from: Option<Micros>,
    /// Rows before this instant
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    until: Option<Micros>,
    /// File to write; without it standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Which rows are shown.
enum Choice {
    Flows(BTreeSet<FlowId>),
    Time { from: Micros, until: Micros },
}

impl Choice {
    fn has(&self, row: &JournalRow) -> bool {
        match self {
            Self::Flows(flows) => row.flow.is_some_and(|flow| flows.contains(&flow)),
            Self::Time { from, until } => row.at >= *from && row.at < *until,
        }
    }
}

fn instant(text: &str) -> Result<Micros, String> {
    let instant: Result<jiff::Timestamp, _> = text.parse();
    let wrong = |error| format!("{error}; write an instant such as 2026-11-21T10:00:00Z");
    instant.map(|instant| Micros(instant.as_microsecond())).map_err(wrong)
}

/// Exports.
pub(super) async fn run(args: &ExportArgs, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    let (choice, told) = choose(args, config, &reader).await?;
    let spans = match &choice {
        Choice::Flows(flows) => {
            let flows: Vec<FlowId> = flows.iter().copied().collect();
            reader.journal_span_of_flows(&flows).await?
        }
        Choice::Time { from, until } => reader.journal_span_of_time(*from, *until).await?,
    };
    if spans.is_empty() {
        return Err(CliError::Refused(format!("the journal has no rows of {told}")));
    }
    let mut stretches = Vec::new();
    let mut anchors = Vec::new();
    let mut shelf = open(config).await?;
    for span in &spans {
        let of_lane = match shelf.as_mut() {
            Some(shelf) => shelf.of(span.lane).await?,
            None => Vec::new(),
        };
        let last = end(&reader, span, &of_lane).await?;
        anchors.extend(
            of_lane.into_iter().filter(|anchor| anchor.seq >= span.first && anchor.seq <= last),
        );
        stretches.push((span.lane, span.first, last));
    }
    let header = ExportHeader::new(told, reader.now().await?);
    let mut file = Lines::create(args.out.as_ref())?;
    file.write(&ExportLine::Header(header))?;
    for anchor in anchors {
        file.write(&ExportLine::Anchor(anchor))?;
    }
    for (lane, first, last) in stretches {
        stretch(&reader, &choice, (lane, first, last), &mut file).await?;
    }
    file.end()
}

async fn choose(
    args: &ExportArgs,
    config: &Config,
    reader: &Reader,
) -> Result<(Choice, String), CliError> {
    let nobody = |what: &str, id: &str| CliError::Refused(format!("there is no {what} {id}"));
    if let Some(id) = &args.flow {
        let flows: BTreeSet<FlowId> =
            reader.find_flows(id).await?.into_iter().map(|flow| flow.row.id).collect();
        return match flows.is_empty() {
            true => Err(nobody("flow", id)),
            false => Ok((Choice::Flows(flows), format!("flow {id}"))),
        };
    }
    if let Some(id) = &args.subject {
        let who = Customer { tenant: args.tenant.clone(), customer: id.clone() };
        let theirs = reader.flows_of_subject(who.subject(config)?).await?;
        let mut flows: BTreeSet<FlowId> = theirs.into_iter().map(|flow| flow.id).collect();
        flows.extend(reader.find_flows(id).await?.into_iter().map(|flow| flow.row.id));
        return match flows.is_empty() {
            true => Err(nobody("flow of", id)),
            false => Ok((Choice::Flows(flows), format!("subject {id}"))),
        };
    }
    let from = args.from.unwrap_or(Micros(i64::MIN));
    let until = args.until.unwrap_or(Micros(i64::MAX));
    let told = match (args.from, args.until) {
        (None, None) => "everything".to_owned(),
        (Some(from), None) => format!("all from {}", output::instant(from)),
        (None, Some(until)) => format!("all until {}", output::instant(until)),
        (Some(from), Some(until)) => {
            format!("all from {} until {}", output::instant(from), output::instant(until))
        }
    };
    Ok((Choice::Time { from, until }, told))
}

/// Where Kafka or the registry is not configured an export is as good as its chain; that is told. One that is away is an
/// error: whoever has anchors wants them.
async fn open(config: &Config) -> Result<Option<Shelf>, CliError> {
    match Shelf::open(config).await {
        Ok(shelf) => Ok(Some(shelf)),
        Err(CliError::Config(error @ ConfigError::Missing { .. })) => {
            output::note(format_args!("the export is without anchors, which prove it: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Up to the first anchor that proves the last row chosen, or else to the lane's head.
async fn end(reader: &Reader, span: &JournalSpan, anchors: &[Anchor]) -> Result<i64, CliError> {
    let proof = anchors.iter().map(|anchor| anchor.seq).filter(|seq| *seq >= span.last).min();
    if let Some(seq) = proof {
        return Ok(seq);
    }
    let lanes = reader.lanes().await?;
    let head = lanes.iter().find(|lane| lane.lane == span.lane).map(|lane| lane.journal_seq);
    Ok(head.unwrap_or(span.last).max(span.last))
}

async fn stretch(
    reader: &Reader,
    choice: &Choice,
    (lane, first, last): (LaneId, i64, i64),
    file: &mut Lines,
) -> Result<(), CliError> {
    let mut after = first - 1;
    let mut begun = false;
    while after < last {
        let at_most = usize::try_from(last - after).unwrap_or(PAGE).min(PAGE);
        let rows = reader.journal_after(lane, after, at_most).await?;
        let Some(newest) = rows.last() else { break };
        if !begun {
            let before = rows.first().map_or(GENESIS.to_vec(), |row| row.prev_hash.clone());
            file.write(&ExportLine::Stretch(Stretch {
                lane,
                after_seq: first - 1,
                after_hash: before,
                last_seq: last,
            }))?;
            begun = true;
        }
        after = newest.seq;
        page(&rows, choice, file)?;
    }
    Ok(())
}

/// Rows that were chosen as they are, what stands between them as digests.
fn page(rows: &[JournalRow], choice: &Choice, file: &mut Lines) -> Result<(), CliError> {
    for run in rows.chunk_by(|left, right| !choice.has(left) && !choice.has(right)) {
        match run.first() {
            Some(row) if choice.has(row) => {
                file.write(&ExportLine::Row(Box::new(row.clone())))?;
            }
            _ => {
                if let Some(skipped) = left_out(run) {
                    file.write(&ExportLine::LeftOut(skipped))?;
                }
            }
        }
    }
    Ok(())
}

/// Lines of JSON, in a file or on standard output.
struct Lines {
    out: BufWriter<Box<dyn Write + Send>>,
    file: Option<PathBuf>,
}

impl Lines {
    fn create(file: Option<&PathBuf>) -> Result<Self, CliError> {
        let out: Box<dyn Write + Send> = match file {
            None => Box::new(std::io::stdout()),
            Some(path) => Box::new(
                File::create(path)
                    .map_err(|source| CliError::File { path: path.clone(), source })?,
            ),
        };
        Ok(Self { out: BufWriter::new(out), file: file.cloned() })
    }

    fn write(&mut self, line: &ExportLine) -> Result<(), CliError> {
        let text = serde_json::to_string(line).map_err(|error| CliError::Output(error.into()))?;
        writeln!(self.out, "{text}").map_err(|source| self.failed(source))
    }

    fn end(mut self) -> Result<(), CliError> {
        self.out.flush().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> CliError {
        match &self.file {
            None => CliError::Output(source),
            Some(path) => CliError::File { path: path.clone(), source },
        }
    }
}
