//! Ring 3: stories on real parts. Kafka, the registry, Postgres and the vendors' sandbox are started once per run, the
//! product runs as child processes of the built program, and everything is stopped at the end, after a panic too.
//!
//! The stories run one after another in the order below, on one installation, each with payouts of its own; the last
//! ones look at everything that the others left. `cargo test --test real_parts -- NAME` runs those whose name contains
//! NAME. It has a `main` of its own because libtest has no end at which a shared stack could be stopped.
#![allow(clippy::panic, reason = "a test fails by panicking")]

mod real_parts {
    pub(crate) mod broken_records;
    pub(crate) mod canaries;
    pub(crate) mod contracts;
    pub(crate) mod crashes;
    pub(crate) mod endings;
    pub(crate) mod erasure;
    pub(crate) mod foreign_client;
    pub(crate) mod growing;
    pub(crate) mod majors;
    pub(crate) mod migrating;
    pub(crate) mod onboarding;
    pub(crate) mod operators;
    pub(crate) mod outages;
    pub(crate) mod recipes;
    pub(crate) mod recognition;
    pub(crate) mod recovery;
    pub(crate) mod repeats;
    pub(crate) mod rewrapping;
    pub(crate) mod scenarios;
    pub(crate) mod sharing;
    pub(crate) mod tampering;
    pub(crate) mod tracing;
    pub(crate) mod upgrading;
    pub(crate) mod upkeep;
}

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use integration_tests::{Failure, Installation, Vendors, built_program, previous_program};
use serde_json::json;
use signalbox::scene::{Console, EngineName};

use real_parts::{
    broken_records, canaries, contracts, crashes, endings, erasure, foreign_client, growing,
    majors, migrating, onboarding, operators, outages, recipes, recognition, recovery, repeats,
    rewrapping, scenarios, sharing, tampering, tracing, upgrading, upkeep,
};

/// The engine that every story finds running, alone, and leaves so.
const ENGINE: EngineName = EngineName("engine-1");
/// The one that comes and goes.
const OTHER_ENGINE: EngineName = EngineName("engine-2");
/// The adapter that every story finds running.
const ADAPTER: &str = "adapter-1";

const VENDORS: Vendors = Vendors {
    arguments: &[
        "--settle-after",
        "1s",
        "--return-after",
        "1s",
        "--slow-for",
        "1500ms",
        "--hang-for",
        "2s",
        "--latency-max",
        "20ms",
    ],
    waits: &[
        ("settlement_poll", "500ms"),
        ("return_poll", "500ms"),
        ("return_window", "3s"),
        ("settlement_escalation", "8s"),
        ("doubt_escalation", "6s"),
    ],
};

/// What a story proves, in a sentence, or why it fails.
type Outcome = Result<String, Failure>;
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

struct Story {
    name: &'static str,
    tell: for<'a> fn(&'a mut Installation) -> Running<'a>,
}

const STORIES: &[Story] = &[
    // First, so that where an older program is named nothing but this runs under it.
    Story {
        name: "the_program_is_upgraded_under_load_and_taken_back_once",
        tell: |on| Box::pin(upgrading::under_load(on)),
    },
    Story {
        name: "topics_and_schemas_are_in_order_and_stay_so",
        tell: |on| Box::pin(upkeep::topics_and_schemas(on)),
    },
    Story {
        name: "migrations_step_by_step_make_the_same_database",
        tell: |on| Box::pin(upkeep::migrations(on)),
    },
    Story {
        name: "the_twin_of_the_store_is_as_postgres",
        tell: |on| Box::pin(contracts::of_the_store(on)),
    },
    Story {
        name: "the_twin_of_the_bus_is_as_kafka",
        tell: |on| Box::pin(contracts::of_the_bus(on)),
    },
    Story {
        name: "services_refuse_a_database_they_do_not_know",
        tell: |on| Box::pin(upkeep::unknown_schema(on)),
    },
    Story {
        name: "every_persona_ends_as_its_row_says",
        tell: |on| Box::pin(endings::every_persona(on)),
    },
    Story {
        name: "every_newcomer_ends_as_their_row_says",
        tell: |on| Box::pin(onboarding::every_newcomer(on)),
    },
    Story {
        name: "a_customer_who_was_onboarded_is_recognised_and_not_checked_again",
        tell: |on| Box::pin(recognition::known_and_unknown(on)),
    },
    Story {
        name: "every_scenario_holds_on_real_parts",
        tell: |on| Box::pin(scenarios::every_scenario(on)),
    },
    Story {
        name: "the_same_command_twice_is_one_payout",
        tell: |on| Box::pin(repeats::same_command(on)),
    },
    Story {
        name: "a_customer_cancels_before_and_after_sending",
        tell: |on| Box::pin(repeats::cancelling(on)),
    },
    Story {
        name: "a_hold_is_released_by_two_different_people_only",
        tell: |on| Box::pin(repeats::hold(on)),
    },
    Story {
        name: "a_python_client_is_understood",
        tell: |on| Box::pin(foreign_client::python(on)),
    },
    Story {
        name: "broken_records_are_set_aside_and_the_partition_goes_on",
        tell: |on| Box::pin(broken_records::set_aside(on)),
    },
    Story {
        name: "both_majors_of_a_command_live_side_by_side",
        tell: |on| Box::pin(majors::side_by_side(on)),
    },
    Story {
        name: "a_trace_goes_from_the_command_to_the_vendors_and_back",
        tell: |on| Box::pin(tracing::from_command_to_vendor(on)),
    },
    Story {
        name: "operators_pause_a_payout_and_set_aside_what_parks_one",
        tell: |on| Box::pin(operators::at_work(on)),
    },
    Story {
        name: "a_stopped_lane_is_started_by_a_command",
        tell: |on| Box::pin(operators::stopped_lane(on)),
    },
    Story {
        name: "one_customer_among_many_is_erased",
        tell: |on| Box::pin(erasure::one_of_many(on)),
    },
    Story {
        name: "the_envelope_key_is_changed_under_load_and_the_old_one_retired",
        tell: |on| Box::pin(rewrapping::old_key_retired(on)),
    },
    Story {
        name: "canaries_are_nowhere_but_where_they_may_be",
        tell: |on| Box::pin(canaries::nowhere_but_where_they_may_be(on)),
    },
    Story { name: "an_engine_is_killed_in_mid_work", tell: |on| Box::pin(crashes::engine(on)) },
    Story { name: "an_adapter_is_killed_in_mid_work", tell: |on| Box::pin(crashes::adapter(on)) },
    Story {
        name: "a_stopped_engine_wakes_after_its_lease",
        tell: |on| Box::pin(crashes::zombie(on)),
    },
    Story {
        name: "engines_share_lanes_as_they_come_and_go",
        tell: |on| Box::pin(sharing::join_and_leave(on)),
    },
    Story {
        name: "the_registry_is_down_at_start_and_in_flight",
        tell: |on| Box::pin(outages::registry(on)),
    },
    Story { name: "postgres_is_killed_in_flight", tell: |on| Box::pin(outages::postgres(on)) },
    Story { name: "kafka_is_killed_in_flight", tell: |on| Box::pin(outages::kafka(on)) },
    Story {
        name: "lanes_are_added_while_payouts_are_under_way",
        tell: |on| Box::pin(growing::under_way(on)),
    },
    Story {
        name: "waiting_payouts_migrate_to_a_new_version_under_load",
        tell: |on| Box::pin(migrating::under_load(on)),
    },
    Story {
        name: "nothing_that_was_published_ended_twice",
        tell: |on| Box::pin(endings::nothing_twice(on)),
    },
    Story {
        name: "the_consumers_rule_in_sql_says_what_the_package_says",
        tell: |on| Box::pin(recipes::consumers_rule_in_sql(on)),
    },
    Story { name: "metrics_and_health_are_served", tell: |on| Box::pin(upkeep::admin(on)) },
    Story {
        name: "services_run_with_the_least_privileges",
        tell: |on| Box::pin(upkeep::least_privileges(on)),
    },
    Story { name: "the_doctor_looks_at_everything", tell: |on| Box::pin(upkeep::doctor(on)) },
    Story {
        name: "an_export_is_proven_without_a_server_and_tampering_located",
        tell: |on| Box::pin(tampering::exported(on)),
    },
    Story {
        name: "postgres_is_restored_to_an_earlier_time_in_flight",
        tell: |on| Box::pin(recovery::restored(on)),
    },
    Story {
        name: "postgres_fails_over_to_its_standby_in_flight",
        tell: |on| Box::pin(recovery::failed_over(on)),
    },
    Story { name: "kafka_loses_the_tail_of_a_topic", tell: |on| Box::pin(recovery::lost_tail(on)) },
    Story {
        name: "a_flipped_byte_in_the_journal_is_located",
        tell: |on| Box::pin(tampering::flipped_byte(on)),
    },
];

fn main() -> ExitCode {
    // The witness reads with the same client as the product.
    let _ = signalbox::zeroed::ensure();
    let console = Console::start();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |story: &&Story| {
        wanted.is_empty() || wanted.iter().any(|part| story.name.contains(part.as_str()))
    };
    let stories: Vec<&Story> = STORIES.iter().filter(is_wanted).collect();
    if arguments.iter().any(|word| word == "--list") {
        stories.iter().for_each(|story| console.print(&format!("{}: test", story.name)));
        return ExitCode::SUCCESS;
    }
    if stories.is_empty() {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(run(console, &stories))),
        Err(source) => {
            Err(Failure::System { doing: "starting the async runtime".to_owned(), source })
        }
    };
    match outcome {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            console.print(&format!("test result: FAILED. {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells the stories; how many failed.
async fn run(console: Console, stories: &[&Story]) -> Result<usize, Failure> {
    console.print(&format!("running {} stories on real parts", stories.len()));
    let begun = Instant::now();
    // Before anything is started: a program that is older than its sources proves nothing.
    built_program()?;
    let mut on = Installation::start(previous_program()?, VENDORS, "story").await?;
    let mut failed = Vec::new();
    for story in stories {
        let begun = Instant::now();
        let outcome = match set_the_stage(&mut on).await {
            Ok(()) => AssertUnwindSafe((story.tell)(&mut on)).catch_unwind().await,
            Err(failure) => Ok(Err(failure)),
        };
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(Ok(proof)) => {
                console.print(&format!("test {} ... ok ({seconds:.1} s)\n    {proof}", story.name))
            }
            Ok(Err(failure)) => {
                console.print(&format!(
                    "test {} ... FAILED ({seconds:.1} s)\n    {failure}",
                    story.name
                ));
                failed.push(story.name);
            }
            // The panic's message is on standard error already.
            Err(_panic) => {
                console.print(&format!("test {} ... FAILED ({seconds:.1} s)", story.name));
                failed.push(story.name);
            }
        }
    }
    keep_logs_of_failure(&on, &failed)?;
    on.stop().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let good = stories.len() - failed.len();
    console.print(&format!(
        "test result: {verdict}. {good} passed; {} failed; finished in {seconds:.1} s",
        failed.len()
    ));
    failed.iter().for_each(|name| console.print(&format!("    {name}")));
    Ok(failed.len())
}

/// One engine, one adapter, vendors without faults, whatever the story before left.
async fn set_the_stage(on: &mut Installation) -> Result<(), Failure> {
    on.stack().start_postgres().await.map_err(signalbox::scene::SceneError::from)?;
    on.stack().start_kafka().await.map_err(signalbox::scene::SceneError::from)?;
    on.stack().start_registry().await.map_err(signalbox::scene::SceneError::from)?;
    on.prepare().await?;
    on.bank.faults(&json!({})).await?;
    on.only_engine(ENGINE).await?;
    on.only_adapter(ADAPTER).await
}

/// The stack's directory goes at the end; what explains a failure is kept beside the build.
fn keep_logs_of_failure(on: &Installation, failed: &[&str]) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    let kept = on.keep_logs("real-parts-logs")?;
    Console::start().print(&format!("logs of this run: {}", kept.display()));
    Ok(())
}
