//! A new version under load: payouts that wait for people are moved to it while others are paid and the engine is killed.
//! `MIGRATED_FLOWS=10000` moves as many; the journeys themselves are judged in other rings.

use std::path::Path;
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use rustix::process::Signal;
use signalbox::payouts::{Payout, Wish};
use signalbox::scene::Decision;
use tokio::time::{Instant, sleep};

use crate::{ENGINE, Outcome};

/// Flows that wait, unless the environment says otherwise.
const FLOWS: usize = 1_000;
/// New payouts between two looks at the migration.
const WAVE: usize = 5;
const SOON: Duration = Duration::from_secs(30);

/// A folder for what the story writes.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Result<Self, Failure> {
        let folder = tempfile::tempdir().map_err(Failure::while_doing("making a folder"))?;
        Ok(Self { folder })
    }

    fn write(&self, name: &str, text: &str) -> Result<String, Failure> {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).map_err(Failure::while_doing(format!("writing {name}")))?;
        Ok(file.display().to_string())
    }
}

/// Dry run and result agree, none is lost, all end.
pub(crate) async fn under_load(on: &mut Installation) -> Outcome {
    let flows = std::env::var("MIGRATED_FLOWS").ok().and_then(|text| text.parse().ok());
    let flows: usize = flows.unwrap_or(FLOWS);
    let wish = Wish { originator: Some("Fraudreview".to_owned()), ..Wish::default() };
    let waiting = on.request(&wish, flows).await?;
    until_open(on, &waiting, "review_fraud").await?;
    // Payouts that earlier stories have left waiting for the same people are moved with them.
    let there = by_version(on, 2).await?;
    assert!(there >= flows, "{there} of {flows} payouts wait");

    let desk = Desk::new()?;
    deploy_next_version(on, &desk).await?;
    let mut load = vec![until_started_under(on, 3).await?];
    refuse_what_is_illegal(on, &desk).await?;
    let plan = desk.write(
        "plan.yaml",
        "journey: payout\nfrom: 2\nto: 3\nstates: {review_fraud: judge_fraud}\n",
    )?;
    let before = Instant::now();
    let tried = on.succeed(&["journeys", "migrate", &plan, "--dry-run"]).await?;
    let would = format!("review_fraud -> judge_fraud: {there}\n");
    assert_eq!(tried, format!("{would}dry run: {there} would move, 0 would stay\n"));
    let trying = before.elapsed().as_secs_f64();
    assert_eq!(by_version(on, 2).await?, there, "a dry run changes nothing");

    let (stopped, moved) = stop_half_way(on, &plan, there).await?;
    let left = there - moved;
    let id = begin(on, &plan, "CHG-7").await?;
    let (seconds, result) = until_ended(on, &id, &mut load).await?;
    let would = format!("review_fraud -> judge_fraud: {left}\n");
    assert!(left == 0 || result.contains(&would), "dry run and result differ: {tried}{result}");
    assert!(result.contains(&format!("so far: {left} moved, 0 stayed")), "{result}");
    assert_eq!(by_version(on, 2).await?, 0, "a flow is left behind");
    each_move_is_journaled(on, &waiting, &[(stopped.as_str(), "CHG-5"), (id.as_str(), "CHG-7")])
        .await?;

    for payout in &waiting {
        on.commands.decide(&approval(payout)).await?;
    }
    let (count, all) = (load.len(), waiting.into_iter().chain(load));
    let expected: Vec<Expectation> = all.map(Expectation::completed).collect();
    let verified = verify(on, &expected).await?;
    Ok(format!(
        "a first migration was stopped when {moved} of {flows} waiting payouts and more were moved; a second one moved the \
         {left} that were left in {seconds:.1} s while {count} new ones came and the engine was killed; dry run \
         ({trying:.1} s, its check included) and result agree; {verified}"
    ))
}

/// Puts a migration down. Its id.
async fn begin(on: &Installation, plan: &str, reason: &str) -> Result<String, Failure> {
    let arguments = ["journeys", "migrate", plan, "--actor", "ann", "--reason", reason];
    let begun = on.succeed(&arguments).await?;
    let id = begun.lines().next().and_then(|line| line.strip_prefix("migration "));
    Ok(id.ok_or_else(|| Failure::Broken(format!("no id in {begun}")))?.to_owned())
}

/// A migration is begun and stopped, told twice: what was moved stays moved, the rest stays, and it does not begin again.
/// The engine stands still meanwhile, so that something is left. Its id, and how many were moved.
async fn stop_half_way(
    on: &Installation,
    plan: &str,
    there: usize,
) -> Result<(String, usize), Failure> {
    let id = begin(on, plan, "CHG-5").await?;
    while by_version(on, 2).await? == there {
        sleep(Duration::from_millis(2)).await;
    }
    on.signal_engine(ENGINE, Signal::STOP)?;
    let stop = ["journeys", "migrations", "stop", &id, "--actor", "bob", "--reason", "too early"];
    on.succeed(&stop).await?;
    on.succeed(&stop).await?;
    on.signal_engine(ENGINE, Signal::CONT)?;
    let deadline = Instant::now() + SOON;
    let told = loop {
        let told = on.succeed(&["journeys", "migrations", &id]).await?;
        if told.contains("(stopped: ") || told.contains("(ended)") {
            break told;
        }
        if Instant::now() > deadline {
            let what = "lanes that have heard the word to stop".to_owned();
            return Err(Failure::Late { what, seconds: SOON.as_secs(), seen: told });
        }
        sleep(Duration::from_millis(200)).await;
    };
    let left = by_version(on, 2).await?;
    assert!(
        told.contains("(stopped: ") && left > 0,
        "everything was moved before the word came: {told}"
    );
    let moved = there - left;
    let counted =
        format!("before it stopped: {moved} moved, 0 stayed; {left} flows run under version 2 now");
    assert!(told.contains(&counted), "{counted}: {told}");
    let again = on.run(&["journeys", "migrations", &id, "--again"], &[]).await?;
    assert!(again.code == Some(1) && again.err.contains("does not begin again"), "{again:?}");
    let again = on.run(&stop, &[]).await?;
    assert!(again.code == Some(1) && again.err.contains("nothing to stop"), "{again:?}");
    Ok((id, moved))
}

fn approval(payout: &Payout) -> Decision {
    Decision {
        case: payout.id.clone(),
        journey: "payout".to_owned(),
        step: "judge_fraud".to_owned(),
        decision: "approve".to_owned(),
        actor: "fay".to_owned(),
    }
}

/// Until people are asked about every one. Without progress for a while, something is stuck.
pub(crate) async fn until_open(
    on: &mut Installation,
    payouts: &[Payout],
    step: &str,
) -> Result<(), Failure> {
    let mut last = (0, Instant::now());
    loop {
        let open = on.witness.ask(|seen| {
            let has = |payout: &&Payout| {
                seen.courses.get(&payout.id).is_some_and(|course| course.has_task(step, "opened"))
            };
            payouts.iter().filter(has).count()
        });
        if open == payouts.len() {
            return Ok(());
        }
        on.must_run()?;
        if open > last.0 {
            last = (open, Instant::now());
        } else if last.1.elapsed() > SOON * 2 {
            let (what, seen) = (format!("{} tasks of {step}", payouts.len()), format!("{open}"));
            return Err(Failure::Late { what, seconds: SOON.as_secs() * 2, seen });
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Version 3 asks the same under another name. It is pinned once; another definition of it is refused with what differs.
async fn deploy_next_version(on: &Installation, desk: &Desk) -> Result<(), Failure> {
    let file = on.checkout().join(Path::new("journeys/payout.yaml"));
    let text = std::fs::read_to_string(file).map_err(Failure::while_doing("reading a journey"))?;
    let next = text.replace("version: 2\n", "version: 3\n").replace("review_fraud", "judge_fraud");
    let file = desk.write("payout.yaml", &next)?;
    let said = on.succeed(&["journeys", "deploy", &file]).await?;
    assert!(said.contains("payout version 3 is pinned"), "{said}");
    let said = on.succeed(&["journeys", "deploy", &file]).await?;
    assert!(said.contains("pinned already"), "{said}");
    let other = desk.write("other.yaml", &next.replace("after: 48h", "after: 24h"))?;
    let said = on.run(&["journeys", "deploy", &other], &[]).await?;
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains("deadline after: 48h -> 24h"), "{}", said.err);
    Ok(())
}

/// Until the engines start flows under a version, without having been started again. A payout that did.
async fn until_started_under(on: &mut Installation, version: u32) -> Result<Payout, Failure> {
    let deadline = Instant::now() + SOON;
    loop {
        let payout = on.request(&Wish::default(), 1).await?.remove(0);
        let started = loop {
            if let Some(found) = on.reader.find_flows(&payout.id).await?.first() {
                break found.row.version;
            }
            sleep(Duration::from_millis(20)).await;
        };
        if started == version {
            return Ok(payout);
        }
        if Instant::now() > deadline {
            let what = format!("a flow of version {version}");
            return Err(Failure::Late {
                what,
                seconds: SOON.as_secs(),
                seen: format!("{started}"),
            });
        }
        on.witness
            .until_course(SOON, &payout.id, "an ending", |course| !course.endings.is_empty())
            .await?;
    }
}

/// A plan past the screening and one out of a hold are refused with their path.
async fn refuse_what_is_illegal(on: &Installation, desk: &Desk) -> Result<(), Failure> {
    for (states, told) in [
        (
            "{screen_parties: score_fraud, review_fraud: judge_fraud}",
            "payout.send is called, but screen_parties/",
        ),
        (
            "{compliance_hold: judge_fraud, review_fraud: judge_fraud}",
            "hold left without release: compliance_hold",
        ),
    ] {
        let text = format!("journey: payout\nfrom: 2\nto: 3\nstates: {states}\n");
        let plan = desk.write("illegal.yaml", &text)?;
        let arguments = ["journeys", "migrate", &plan, "--actor", "ann", "--reason", "CHG-6"];
        let said = on.run(&arguments, &[]).await?;
        assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
        assert!(said.err.contains(told) && said.err.contains("path: "), "{}", said.err);
    }
    assert_eq!(on.succeed(&["journeys", "migrations"]).await?, "", "something was put down");
    Ok(())
}

/// New payouts keep coming, and the engine is killed once. How long it took, and what was told at the end.
async fn until_ended(
    on: &mut Installation,
    id: &str,
    load: &mut Vec<Payout>,
) -> Result<(f64, String), Failure> {
    let begun = Instant::now();
    let deadline = begun + SOON * 10;
    let mut killed = false;
    loop {
        load.extend(on.request(&Wish::default(), WAVE).await?);
        let told = on.succeed(&["journeys", "migrations", id]).await?;
        if told.contains("(ended)") {
            return Ok((begun.elapsed().as_secs_f64(), told));
        }
        if !killed {
            on.kill_engine(ENGINE)?;
            on.start_engine(ENGINE).await?;
            killed = true;
        }
        if Instant::now() > deadline {
            let what = "the end of a migration".to_owned();
            return Err(Failure::Late { what, seconds: SOON.as_secs() * 10, seen: told });
        }
    }
}

async fn by_version(on: &Installation, version: u32) -> Result<usize, Failure> {
    let counted = on.reader.flows_by_version("payout").await?;
    let flows = counted.iter().find(|(of, _)| *of == version).map_or(0, |(_, flows)| *flows);
    Ok(usize::try_from(flows).unwrap_or(usize::MAX))
}

/// Each flow says by whom, why and by which of the migrations it was moved, once.
async fn each_move_is_journaled(
    on: &Installation,
    payouts: &[Payout],
    migrations: &[(&str, &str)],
) -> Result<(), Failure> {
    let reasons: Vec<String> = migrations
        .iter()
        .map(|(id, reason)| format!("version 2 -> 3: migration {id}, {reason}"))
        .collect();
    for payout in payouts {
        let flow = on.reader.find_flows(&payout.id).await?.remove(0).row;
        let journal = on.reader.journal_of(flow.id).await?;
        let moves: Vec<_> = journal.iter().filter(|row| row.kind == "migrate").collect();
        let [one] = moves.as_slice() else {
            return Err(Failure::Broken(format!("{} was moved {} times", payout.id, moves.len())));
        };
        assert_eq!((one.actor.as_str(), one.version), ("ann", Some(3)));
        assert!(reasons.contains(&one.reason), "{}", one.reason);
        assert_eq!(flow.state.as_str(), "judge_fraud");
    }
    Ok(())
}
