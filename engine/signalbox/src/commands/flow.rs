//! `signalbox flow`: what happened to a flow, from the journal, the attempts and the vendors' calls; and how many flows
//! are where. Acts on flows are in `operate`. It changes nothing, and it shows no personal data unless it is asked to.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use signalbox_bus::{KafkaLaneBus, LaneBus, Outbound};
use signalbox_flow::{Act, Mark, Standstill};
use signalbox_schemas::{Micros, TopicName, headers};
use signalbox_store::{AttemptRow, FlowRow, JournalRow, LoadedFlow, Reader, Standing};
use signalbox_vault::Place;
use std::collections::BTreeMap;
use std::fmt::Write;

use super::opener::{Opened, Opener};
use super::operate::{self, ActArgs};
use super::subject::{self, Customer};
use super::tail::Lens;
use super::wiring;
use crate::config::Config;
use crate::error::CliError;
use crate::masking::Masking;
use crate::output;

/// Where adapters record their calls.
const CALLS: &str = "partner.calls.v1";
/// Records of calls read at once.
const PAGE: i64 = 20_000;

/// What to show of flows.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowCommand {
    /// Tell one flow's story: every step, vendor call, attempt and decision, with its time
    #[command(after_help = "\
Needs postgres.url; vendor calls need kafka.brokers and registry.url too, and what was published needs
privacy.envelope_key. ID is the payout's id or the flow's.

Examples:
  signalbox flow show p-42
  signalbox flow show p-42 --json | jq .timeline")]
    Show(ShowArgs),
    /// Count flows by journey and state
    #[command(after_help = "\
Needs postgres.url; a customer takes tenant_key too.

Examples:
  signalbox flow list
  signalbox flow list --standing
  signalbox flow list --customer c-7 --tenant acme")]
    List(ListArgs),
    /// Take no more inputs of a flow: they wait in order, and its timers do not fire
    #[command(after_help = operate::HELP)]
    Pause(ActArgs),
    /// End a pause: what waited is applied in order
    #[command(after_help = operate::HELP)]
    Resume(ActArgs),
    /// Let a parked flow go on, from the input that parked it; what still cannot be applied parks it again
    #[command(after_help = operate::HELP)]
    Release(ActArgs),
    /// Let a parked flow go on without the input that parked it, which becomes a dead letter; takes two people
    #[command(after_help = operate::HELP)]
    SetAside(ActArgs),
    /// Ask again now what would be asked again later
    #[command(after_help = operate::HELP)]
    Retry(ActArgs),
    /// Ask the journey to cancel the flow, where and as it allows
    #[command(after_help = operate::HELP)]
    Cancel(ActArgs),
}

/// Which flow.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Business id or flow id
    id: String,
    /// With the personal data of the command that started it, which is masked otherwise
    #[arg(long)]
    show_personal_data: bool,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// How to count.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List the flows that are paused or parked, and why, instead of counting
    #[arg(long, conflicts_with = "customer")]
    standing: bool,
    /// List the flows of a customer instead of counting
    #[arg(long, value_name = "ID")]
    customer: Option<String>,
    /// Tenant whose customer it is
    #[arg(long, value_name = "NAME", default_value = "default", requires = "customer")]
    tenant: String,
    /// One JSON object per line
    #[arg(long)]
    json: bool,
}

/// Something that happened.
#[derive(Debug, Serialize)]
struct Moment {
    at: Micros,
    time: String,
    /// `step`, `publish`, `call`, `attempt`.
    what: &'static str,
    text: String,
    detail: Value,
}

/// Shows or counts.
pub(crate) async fn run(command: &FlowCommand, config: &Config) -> Result<(), CliError> {
    let reader = wiring::reader(config)?;
    reader.require_known_schema().await?;
    match command {
        FlowCommand::Show(args) => show(args, config, &reader).await,
        FlowCommand::List(args) if args.standing => list_standing(args, &reader).await,
        FlowCommand::List(args) => match &args.customer {
            Some(customer) => list_customer(args, customer, config, &reader).await,
            None => list(args, &reader).await,
        },
        FlowCommand::Pause(args) => operate::run(Act::Pause, args, config, &reader).await,
        FlowCommand::Resume(args) => operate::run(Act::Resume, args, config, &reader).await,
        FlowCommand::Release(args) => operate::run(Act::Release, args, config, &reader).await,
        FlowCommand::SetAside(args) => operate::run(Act::SetAside, args, config, &reader).await,
        FlowCommand::Retry(args) => operate::run(Act::Retry, args, config, &reader).await,
        FlowCommand::Cancel(args) => operate::run(Act::Cancel, args, config, &reader).await,
    }
}

async fn list_standing(args: &ListArgs, reader: &Reader) -> Result<(), CliError> {
    for flow in reader.standing_flows().await? {
        if args.json {
            let data = flow.data.value();
            output::json(&json!({
                "flow_id": flow.id, "tenant": flow.tenant, "aggregate_id": flow.aggregate, "journey": flow.journey,
                "state": flow.state, "standing": flow.standing.map(Standing::as_str),
                "standstill": data.get("standstill"), "assents": data.get("assents"),
            }))?;
        } else {
            output::line(format_args!(
                "{} {} in {}: {}",
                flow.tenant,
                flow.aggregate,
                flow.state,
                standstill(&flow)
            ))?;
        }
    }
    Ok(())
}

/// Why a flow stands still, since when, and how much waits for it.
fn standstill(flow: &FlowRow) -> String {
    let still: Standstill = flow
        .data
        .value()
        .get("standstill")
        .cloned()
        .and_then(|still| serde_json::from_value(still).ok())
        .unwrap_or_default();
    let mark = |word: &str, mark: &Option<Mark>| {
        mark.as_ref().map(|mark| {
            format!(
                "{word} since {} by {}: {}",
                output::instant(mark.since),
                mark.actor,
                mark.reason
            )
        })
    };
    let marks = [mark("parked", &still.parked), mark("paused", &still.paused)];
    let marks: Vec<String> = marks.into_iter().flatten().collect();
    format!("{}; {} inputs wait", marks.join("; "), still.next.saturating_sub(still.first))
}

async fn list_customer(
    args: &ListArgs,
    customer: &str,
    config: &Config,
    reader: &Reader,
) -> Result<(), CliError> {
    let who = Customer { tenant: args.tenant.clone(), customer: customer.to_owned() };
    let flows = reader.flows_of_subject(who.subject(config)?).await?;
    for flow in &flows {
        if args.json {
            output::json(&subject::flow_json(flow))?;
        } else {
            output::line(subject::flow_text(flow))?;
        }
    }
    if flows.is_empty() && !args.json { output::line("no flows of this customer") } else { Ok(()) }
}

async fn list(args: &ListArgs, reader: &Reader) -> Result<(), CliError> {
    let counts = reader.flows_by_state().await?;
    for (journey, status, state, count) in &counts {
        if args.json {
            output::json(
                &json!({"journey": journey, "status": status, "state": state, "flows": count}),
            )?;
        } else {
            output::line(format_args!("{count:>9}  {journey}  {status:<8}  {state}"))?;
        }
    }
    if counts.is_empty() && !args.json { output::line("no flows yet") } else { Ok(()) }
}

async fn show(args: &ShowArgs, config: &Config, reader: &Reader) -> Result<(), CliError> {
    let flows = reader.find_flows(&args.id).await?;
    if flows.is_empty() {
        return Err(CliError::Refused(format!(
            "there is no flow {}; a command that was refused has none, see `signalbox tail --from-beginning`",
            args.id
        )));
    }
    let mut opener = Opener::new(config, reader)?;
    for found in flows {
        let command = command(&found, args.show_personal_data, &mut opener).await?;
        let flow = found.row;
        let mut timeline = Vec::new();
        for row in reader.journal_of(flow.id).await? {
            let records = records(&row, &mut opener).await?;
            timeline.extend(of_journal(&row, &records));
        }
        let attempts = reader.attempts_of(flow.id).await?;
        timeline.extend(attempts.iter().filter_map(of_attempt));
        match calls(config, &flow).await {
            Ok(calls) => timeline.extend(calls),
            Err(error) => output::note(format_args!("vendor calls are not shown: {error}")),
        }
        timeline.sort_by_key(|moment| moment.at);
        if args.json {
            output::json(&as_json(&flow, &command, &attempts, &timeline))?;
        } else {
            output::line(as_text(&flow, &command, &timeline))?;
        }
    }
    Ok(())
}

/// The command that started a flow, its personal data masked unless it is asked for; or why it cannot be shown.
async fn command(
    found: &LoadedFlow,
    personal: bool,
    opener: &mut Opener<'_>,
) -> Result<Value, CliError> {
    let plain = match opener.open(Place::Command(found.row.id), &found.command).await? {
        Opened::Plain(plain) => plain,
        Opened::Erased(at) => return Ok(Value::from(format!("erased on {}", output::instant(at)))),
        Opened::Sealed => {
            return Ok(Value::from("sealed: privacy.envelope_key is not set for this command"));
        }
    };
    let mut command: Value = serde_json::from_slice(&plain).unwrap_or_default();
    if !personal {
        let schema = wiring::contract()?.record(found.record.as_str());
        Masking::of(schema.map_or("", |schema| schema.text())).apply(&mut command);
    }
    Ok(command)
}

/// What a row published, where it can be read. Records that another version wrote differently are left out of the story,
/// not of the journal.
async fn records(row: &JournalRow, opener: &mut Opener<'_>) -> Result<Vec<Outbound>, CliError> {
    if row.records.is_empty() {
        return Ok(Vec::new());
    }
    let place = Place::Journal { lane: row.lane, seq: row.seq };
    Ok(match opener.open(place, &row.records).await? {
        Opened::Plain(plain) => signalbox_worker::decode_records(&plain).unwrap_or_default(),
        Opened::Erased(_) | Opened::Sealed => Vec::new(),
    })
}

/// A transition, and each record that it published.
fn of_journal(row: &JournalRow, records: &[Outbound]) -> Vec<Moment> {
    let path = match (&row.before, &row.after) {
        (Some(before), Some(after)) if before != after => format!("{before} -> {after}"),
        (_, Some(after)) => after.to_string(),
        (Some(before), None) => before.to_string(),
        (None, None) => String::new(),
    };
    let input = row.input_topic.as_ref().map(|topic| {
        json!({"topic": topic, "partition": row.input_partition, "offset": row.input_offset})
    });
    let mut moments = vec![Moment {
        at: row.at,
        time: output::instant(row.at),
        what: "step",
        text: format!("{} {path}  by {}: {}", row.kind, row.actor, row.reason),
        detail: json!({
            "kind": row.kind, "before": row.before, "after": row.after, "actor": row.actor, "reason": row.reason,
            "revision": row.flow_rev, "input": input, "journal": {"lane": row.lane, "seq": row.seq},
        }),
    }];
    for record in records {
        let kind = record.headers.text(headers::CE_TYPE).unwrap_or("record");
        moments.push(Moment {
            at: row.at,
            time: output::instant(row.at),
            what: "publish",
            text: format!("{kind} to {}", record.topic),
            detail: json!({
                "record": kind, "topic": record.topic, "partition": record.partition, "lane_seq": record.lane_seq(),
                "ce_id": record.headers.text(headers::CE_ID), "traceparent": record.headers.text(headers::TRACEPARENT),
            }),
        });
    }
    moments
}

/// The moment from which on an attempt may have been sent.
fn of_attempt(row: &AttemptRow) -> Option<Moment> {
    let at = row.first_sent_at?;
    let vendor = row.vendor.as_deref().unwrap_or("?");
    let attempt = row.plan.id;
    Some(Moment {
        at,
        time: output::instant(at),
        what: "attempt",
        text: format!(
            "{} may be sent to {vendor} from here on, sends {} (attempt {attempt})",
            row.plan.capability, row.sends
        ),
        detail: attempt_json(row),
    })
}

fn attempt_json(row: &AttemptRow) -> Value {
    let outcome = |result: &Value| json!({"outcome": result.get("outcome"), "class": result.get("class"), "reason": result.get("reason")});
    json!({
        "attempt_id": row.plan.id, "capability": row.plan.capability, "step": row.plan.step, "group": row.plan.group,
        "disposition": row.disposition.as_str(), "vendor": row.vendor, "sends": row.sends, "first_sent_at": row.first_sent_at,
        "result": row.result.as_ref().map(outcome), "contradiction": row.contradiction.as_ref().map(outcome),
    })
}

/// The flow's vendor calls, out of its lane's partition.
async fn calls(config: &Config, flow: &FlowRow) -> Result<Vec<Moment>, CliError> {
    let mut lens = Lens::new(wiring::codec(config).await?, false);
    let mut bus = KafkaLaneBus::connect(config.kafka()?, "signalbox-flow")?;
    let topic = TopicName::from(CALLS);
    let partition = flow.lane.partition();
    let range = bus.range(&topic, partition).await?;
    let mut moments = Vec::new();
    let mut from = range.start;
    while from < range.end {
        let end = range.end.min(from.saturating_add(PAGE));
        for inbound in bus.read(&topic, partition, from, end).await? {
            if inbound.key_text() == Some(flow.aggregate.as_str()) {
                let call = lens.show(&inbound).await?.value;
                if call.get("flow_id").and_then(Value::as_str) == Some(flow.id.to_string().as_str())
                {
                    moments.push(of_call(call));
                }
            }
        }
        from = end;
    }
    Ok(moments)
}

fn of_call(call: Value) -> Moment {
    let text = |name: &str| call.get(name).and_then(Value::as_str).unwrap_or("?");
    let number = |name: &str| call.get(name).and_then(Value::as_i64);
    let at = Micros(number("started_at").unwrap_or(0));
    let millis = number("latency_micros").unwrap_or(0) / 1_000;
    let status =
        number("http_status").map_or("no answer".to_owned(), |status| format!("HTTP {status}"));
    let told = format!(
        "{} {} at {}: {} in {millis} ms ({status}, send {}); {}",
        text("capability"),
        text("operation"),
        text("partner"),
        text("class"),
        number("send").unwrap_or(1),
        text("route_reason"),
    );
    Moment { at, time: output::instant(at), what: "call", text: told, detail: call }
}

fn as_json(flow: &FlowRow, command: &Value, attempts: &[AttemptRow], timeline: &[Moment]) -> Value {
    let data = flow.data.value();
    json!({
        "flow_id": flow.id, "tenant": flow.tenant, "aggregate_id": flow.aggregate, "lane": flow.lane,
        "journey": flow.journey, "version": flow.version, "state": flow.state, "ended": flow.ended, "revision": flow.rev,
        "command": command, "started_at": flow.started_at, "updated_at": flow.updated_at, "calls": data.get("calls"),
        "timers": data.get("timers"), "votes": data.get("votes"),
        "standing": flow.standing.map(Standing::as_str), "standstill": data.get("standstill"),
        "assents": data.get("assents"),
        "attempts": attempts.iter().map(attempt_json).collect::<Vec<_>>(), "timeline": timeline,
    })
}

fn as_text(flow: &FlowRow, command: &Value, timeline: &[Moment]) -> String {
    let mut text = format!(
        "{} {}: {} {}\n  journey {} version {}, flow {}, lane {}, revision {}\n",
        flow.tenant,
        flow.aggregate,
        flow.state,
        if flow.ended { "(ended)" } else { "(running)" },
        flow.journey,
        flow.version,
        flow.id,
        flow.lane,
        flow.rev,
    );
    // Writing to a String cannot fail.
    let _ = match command {
        Value::String(told) => writeln!(text, "  personal data: {told}"),
        command => writeln!(text, "  command {command}"),
    };
    if flow.standing.is_some() {
        let _ = writeln!(text, "  {}", standstill(flow));
    }
    let begun = flow.started_at;
    for moment in timeline {
        let after = moment.at.since(begun).as_secs_f64();
        let _ = writeln!(
            text,
            "  {}  +{after:>9.3} s  {:<8} {}",
            moment.time, moment.what, moment.text
        );
    }
    let timers: BTreeMap<String, Micros> = flow
        .data
        .value()
        .get("timers")
        .cloned()
        .and_then(|timers| serde_json::from_value(timers).ok())
        .unwrap_or_default();
    for (name, due) in timers {
        let _ = writeln!(text, "  {}  waits for timer {name}", output::instant(due));
    }
    text
}
