//! Postgres: reachable, new enough, durable, with this program's schema and rights, its clock beside this machine's, and
//! how the lanes in it are.

use signalbox_schemas::Micros;
use signalbox_store::{LaneStatus, Reader, ServerFacts};
use std::collections::BTreeSet;
use std::time::Instant;

use super::finding::Finding;
use crate::commands::wiring;
use crate::config::Config;
use crate::error::CliError;

const AREA: &str = "postgres";
/// Oldest version that is tested, as the server writes it.
const VERSION_MIN: i32 = 150_000;
/// Clocks further apart than this mislead readers of logs.
const SKEW_MS_MAX: i64 = 1_000;
/// Fewer days of journal partitions than this mean that no engine creates them.
const DAYS_MIN: i64 = 3;

/// What was learnt.
struct Seen {
    facts: ServerFacts,
    lanes: Vec<LaneStatus>,
    /// How far the server's clock is ahead of this machine's, and how exact that is, in milliseconds.
    skew_ms: i64,
    within_ms: i64,
}

/// Asks and judges.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    // That it is not configured has been told.
    let Ok(reader) = wiring::reader(config) else { return Vec::new() };
    match reader.now().await {
        Ok(_) => {}
        Err(error) => {
            let advice = "start the server, correct postgres.url, or open the network to it";
            return vec![Finding::fail(AREA, error.to_string(), advice.to_owned())];
        }
    }
    if let Err(error) = reader.require_known_schema().await {
        let advice = "migrate with the newest program, or run a newer one here".to_owned();
        return vec![Finding::fail(AREA, error.to_string(), advice)];
    }
    match see(&reader).await {
        Ok(seen) => judge(&seen),
        Err(error) => {
            let advice = "give this user the rights that docs/operations.md names".to_owned();
            vec![Finding::fail(AREA, error.to_string(), advice)]
        }
    }
}

async fn see(reader: &Reader) -> Result<Seen, CliError> {
    let (asked, before) = (Instant::now(), machine());
    let server = reader.now().await?;
    let took = i64::try_from(asked.elapsed().as_micros()).unwrap_or(i64::MAX);
    Ok(Seen {
        facts: reader.server().await?,
        lanes: reader.lanes().await?,
        skew_ms: (server.0 - before.0 - took / 2) / 1_000,
        within_ms: took / 2_000 + 1,
    })
}

fn machine() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}

fn judge(seen: &Seen) -> Vec<Finding> {
    let mut findings = of_server(&seen.facts);
    let skew = format!(
        "its clock is {} ms ahead of this machine's (within {} ms)",
        seen.skew_ms, seen.within_ms
    );
    findings.push(if seen.skew_ms.abs() > SKEW_MS_MAX {
        let advice = "let both machines take their time from the same source (chrony); flows live by the database's clock";
        Finding::warn(AREA, skew, advice.to_owned())
    } else {
        Finding::ok(AREA, skew)
    });
    findings.extend(of_schema(&seen.facts));
    findings.extend(of_lanes(&seen.lanes));
    findings
}

fn of_server(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = format!("version {}, user {}", facts.version_text, facts.user);
    findings.push(if facts.version < VERSION_MIN {
        Finding::fail(AREA, version, "upgrade to version 15 or newer".to_owned())
    } else {
        Finding::ok(AREA, version)
    });
    if facts.standby {
        let advice = "let postgres.url name the primary: nothing can be written here";
        findings.push(Finding::fail(AREA, "this is a standby".to_owned(), advice.to_owned()));
    }
    if !facts.fsync {
        let advice = "turn fsync on: without it commits that were published can be lost";
        findings.push(Finding::fail(AREA, "fsync is off".to_owned(), advice.to_owned()));
    }
    if matches!(facts.synchronous_commit.as_str(), "off" | "local") {
        let found = format!("synchronous_commit is {}", facts.synchronous_commit);
        let advice =
            "engines set it for their own sessions; where there is a standby, turn it on for all";
        findings.push(Finding::warn(AREA, found, advice.to_owned()));
    }
    findings
}

fn of_schema(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(if facts.missing_privileges.is_empty() {
        Finding::ok(AREA, "this program's schema, with every right on its tables".to_owned())
    } else {
        let found = format!("{} lacks {}", facts.user, facts.missing_privileges.join(", "));
        let advice = format!("GRANT these rights to {}, or use the role that has them", facts.user);
        Finding::fail(AREA, found, advice)
    });
    if !facts.journal_guarded {
        let advice = "run `signalbox audit verify`, find out who dropped or disabled the trigger journal_append_only, and put it back";
        findings.push(Finding::fail(
            AREA,
            "nothing keeps the journal from being changed".to_owned(),
            advice.to_owned(),
        ));
    }
    if facts.journal_days_ahead < DAYS_MIN {
        let found =
            format!("journal partitions exist for {} days from today on", facts.journal_days_ahead);
        let advice =
            "run `signalbox migrate`; engines create them every hour, so look why none does";
        findings.push(Finding::fail(AREA, found, advice.to_owned()));
    }
    let known = &facts.installation;
    let moved = |was: &Option<String>, is: &String| was.as_ref().is_some_and(|was| was != is);
    if moved(&known.system_identifier, &known.current_system_identifier)
        || moved(&known.timeline, &known.current_timeline)
    {
        let advice = "no engine claims lanes here and no money moves: read \"After a restore\" in docs/operations.md before anything else";
        let found = "this is another server or timeline than the one remembered: restored, or a promoted standby";
        findings.push(Finding::fail(AREA, found.to_owned(), advice.to_owned()));
    }
    if known.lost_commits {
        let advice = "no engine claims lanes here and no money moves: run `signalbox lane reconcile`, and read \"After a restore\" in docs/operations.md";
        let found = "commits were lost: topics hold what this database never gave out";
        findings.push(Finding::fail(AREA, found.to_owned(), advice.to_owned()));
    }
    if facts.write_held {
        let advice = "when money may move again, read \"Holding money back\" in docs/operations.md";
        findings.push(Finding::warn(
            AREA,
            "writes are held back for every vendor".to_owned(),
            advice.to_owned(),
        ));
    }
    if !facts.gates_closed.is_empty() {
        let found = format!("the gate is closed for {}", facts.gates_closed.join(", "));
        let advice = "when money may move again, read \"Holding money back\" in docs/operations.md";
        findings.push(Finding::warn(AREA, found, advice.to_owned()));
    }
    findings
}

fn of_lanes(lanes: &[LaneStatus]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for lane in lanes {
        if let Some(reason) = &lane.stopped {
            let advice = "read \"A lane is stopped\" in docs/operations.md; nothing of the lane is lost, it waits";
            findings.push(Finding::fail(
                AREA,
                format!("lane {} is stopped: {reason}", lane.lane),
                advice.to_owned(),
            ));
        }
    }
    let owned = lanes.iter().filter(|lane| lane.owner.is_some());
    let programs: BTreeSet<Option<i64>> = owned.map(|lane| lane.program).collect();
    if programs.len() > 1 {
        let found = "engines of several programs run: an upgrade is under way".to_owned();
        let advice = "finish it, or go back: `signalbox lane list` says who runs which";
        findings.push(Finding::warn(AREA, found, advice.to_owned()));
    }
    let free = lanes.iter().filter(|lane| lane.owner.is_none() && lane.stopped.is_none()).count();
    if free > 0 {
        let found = format!("{free} of {} lanes have no engine", lanes.len());
        findings.push(Finding::warn(AREA, found, "start `signalbox engine`".to_owned()));
    } else {
        findings.push(Finding::ok(
            AREA,
            format!("{} lanes, each with an engine or stopped", lanes.len()),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use signalbox_schemas::LaneId;
    use signalbox_store::Installation;

    fn healthy() -> Seen {
        let installation = Installation {
            system_identifier: Some("1".to_owned()),
            timeline: Some("1".to_owned()),
            current_system_identifier: "1".to_owned(),
            current_timeline: "1".to_owned(),
            ..Installation::default()
        };
        let facts = ServerFacts {
            version: 150_004,
            version_text: "15.4".to_owned(),
            fsync: true,
            synchronous_commit: "on".to_owned(),
            standby: false,
            user: "signalbox".to_owned(),
            missing_privileges: Vec::new(),
            journal_guarded: true,
            journal_days_ahead: 8,
            write_held: false,
            gates_closed: Vec::new(),
            installation,
        };
        let lane = LaneStatus {
            lane: LaneId(0),
            owner: Some("engine-1".to_owned()),
            program: Some(1),
            stopped: None,
            epoch: 1,
            unpublished: 0,
            journal_seq: 0,
            journal_head: Vec::new(),
        };
        let other = LaneStatus { lane: LaneId(1), ..lane.clone() };
        Seen { facts, lanes: vec![lane, other], skew_ms: 3, within_ms: 1 }
    }

    /// The findings that are not fine, as one text.
    fn troubles(change: impl Fn(&mut Seen)) -> Vec<(Level, String)> {
        let mut seen = healthy();
        change(&mut seen);
        let findings = judge(&seen).into_iter().filter(|finding| finding.level != Level::Ok);
        findings.map(|finding| (finding.level, finding.to_string())).collect()
    }

    #[test]
    fn a_healthy_server_has_nothing_to_be_done() {
        assert_eq!(troubles(|_| {}), []);
    }

    #[test]
    fn whatever_is_wrong_is_named_with_what_to_do() {
        type Case = (fn(&mut Seen), Level, &'static str);
        let cases: [Case; 13] = [
            (|seen| seen.facts.version = 140_010, Level::Fail, "upgrade to version 15"),
            (|seen| seen.facts.standby = true, Level::Fail, "primary"),
            (|seen| seen.facts.fsync = false, Level::Fail, "turn fsync on"),
            (
                |seen| seen.facts.missing_privileges.push("flow: UPDATE".to_owned()),
                Level::Fail,
                "flow: UPDATE",
            ),
            (|seen| seen.facts.journal_guarded = false, Level::Fail, "audit verify"),
            (|seen| seen.facts.journal_days_ahead = 1, Level::Fail, "signalbox migrate"),
            (
                |seen| seen.facts.installation.current_timeline = "2".to_owned(),
                Level::Fail,
                "promoted standby",
            ),
            (
                |seen| seen.facts.installation.lost_commits = true,
                Level::Fail,
                "signalbox lane reconcile",
            ),
            (|seen| seen.facts.write_held = true, Level::Warn, "Holding money back"),
            (|seen| seen.skew_ms = -90_000, Level::Warn, "chrony"),
            (
                |seen| seen.lanes.iter_mut().for_each(|lane| lane.owner = None),
                Level::Warn,
                "signalbox engine",
            ),
            (
                |seen| seen.lanes.iter_mut().take(1).for_each(|lane| lane.program = None),
                Level::Warn,
                "several programs",
            ),
            (
                |seen| {
                    let first = seen.lanes.iter_mut().take(1);
                    first.for_each(|lane| lane.stopped = Some("offset".to_owned()));
                },
                Level::Fail,
                "lane 0 is stopped: offset",
            ),
        ];
        for (change, level, word) in cases {
            let found = troubles(change);
            assert!(
                found.len() == 1
                    && found.iter().all(|(is, text)| *is == level
                        && text.contains(word)
                        && text.contains("->")),
                "{word}: {found:?}"
            );
        }
    }
}
