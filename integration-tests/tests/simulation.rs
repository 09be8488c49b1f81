//! Ring 2: workers, adapters, people and time in one process, from one seed, with faults at every point of the protocol.
//! A failing seed is printed; `SIMULATION_SEED=n` replays it, `SIMULATION_SEEDS=n` runs more. It proves nothing about
//! Kafka or Postgres themselves: ring 3 does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, clippy::as_conversions)]

mod simulation {
    pub(crate) mod adapter;
    pub(crate) mod business;
    pub(crate) mod check;
    pub(crate) mod faults;
    pub(crate) mod forwards;
    pub(crate) mod growing;
    pub(crate) mod migrations;
    pub(crate) mod operators;
    pub(crate) mod people;
    pub(crate) mod restore;
    pub(crate) mod scenarios;
    pub(crate) mod world;
}

use simulation::check::Standstills;
use simulation::world::{Plan, World};

/// Seeds run in CI; a soak runs more.
const SEEDS: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a plan under one seed, or under many, and names the seed that fails. How often flows stood still.
fn under_seeds(plan: Plan) -> Standstills {
    let mut standstills = Standstills::default();
    let first = setting("SIMULATION_SEED");
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => 1..1 + setting("SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| World::run(seed, plan));
        match run {
            Ok(seen) => standstills.add(seen),
            Err(_) => panic!("seed {seed} fails; replay it with SIMULATION_SEED={seed}"),
        }
    }
    standstills
}

#[test]
fn every_journey_is_simulated() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../journeys");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let registered = simulation::business::ALL.iter().any(|business| business.file == file);
        // The rules of the bank are no journey; each journey is checked against them.
        let journey = file.ends_with(".yaml") && file != "invariants.yaml";
        assert!(registered || !journey, "register journeys/{file} in business.rs");
    }
}

#[test]
fn every_scenario_holds_on_a_worker() {
    let broken = simulation::scenarios::all();
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn without_faults_every_flow_ends_once() {
    under_seeds(Plan::calm());
}

#[test]
fn duplicated_and_reordered_outcomes_change_nothing() {
    let seen = under_seeds(Plan { duplicates: true, ..Plan::calm() });
    assert!(seen.recognised > 0, "nobody was ever recognised: {seen:?}");
}

#[test]
fn a_worker_that_crashes_at_any_point_loses_and_repeats_nothing() {
    under_seeds(Plan { crashes: true, duplicates: true, lost_answers: true, ..Plan::calm() });
}

#[test]
fn a_worker_that_is_stopped_past_its_lease_is_fenced_and_its_late_records_are_recognised() {
    under_seeds(Plan {
        pauses: true,
        crashes: true,
        duplicates: true,
        lost_answers: true,
        ..Plan::calm()
    });
}

#[test]
fn workers_that_leave_and_come_again_in_the_midst_of_faults_lose_and_repeat_nothing() {
    let seen = under_seeds(Plan {
        leaves: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        lost_answers: true,
        ambiguous_commits: true,
        broken_producers: true,
        ..Plan::calm()
    });
    assert!(seen.handed_over > 0, "no lane was ever handed over");
}

#[test]
fn lanes_are_handed_over_one_at_a_time_while_the_others_go_on() {
    (1..=SEEDS).for_each(World::hand_over);
}

#[test]
fn commits_with_a_lost_answer_are_resolved_either_way() {
    under_seeds(Plan { ambiguous_commits: true, crashes: true, ..Plan::calm() });
}

#[test]
fn a_broken_producer_is_replaced_without_a_gap() {
    under_seeds(Plan { broken_producers: true, duplicates: true, ..Plan::calm() });
}

#[test]
fn records_at_a_foreign_lane_are_forwarded_once() {
    under_seeds(Plan { foreign_partitions: true, crashes: true, ..Plan::calm() });
}

#[test]
fn a_forward_before_which_one_is_missing_stops_its_home() {
    simulation::forwards::stop_behind_a_gap();
}

#[test]
fn a_lost_tail_of_a_topic_is_published_again() {
    under_seeds(Plan { lost_tails: true, crashes: true, ..Plan::calm() });
}

#[test]
fn a_payout_that_operators_pause_and_resume_under_crashes_loses_nothing() {
    let seen = under_seeds(Plan {
        operators: true,
        crashes: true,
        duplicates: true,
        lost_answers: true,
        ambiguous_commits: true,
        ..Plan::calm()
    });
    assert!(seen.paused > 0 && seen.held > 0, "nothing ever waited: {seen:?}");
}

#[test]
fn a_flow_parked_by_bad_data_and_released_after_a_fix_loses_and_reorders_nothing() {
    let seen = under_seeds(Plan {
        bad_data: true,
        operators: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        ..Plan::calm()
    });
    assert!(seen.parked > 0 && seen.held > 0 && seen.set_aside > 0, "nothing waited: {seen:?}");
}

#[test]
fn flows_are_moved_to_a_new_version_in_the_midst_of_faults_and_none_is_lost() {
    let seen = under_seeds(Plan { migrates: true, ..Plan::stormy() });
    assert!(seen.migrated > 0, "nothing was ever moved");
}

#[test]
fn a_migration_is_stopped_half_way_in_the_midst_of_faults_and_none_is_moved_after_that() {
    let seen = under_seeds(Plan { migrates: true, stops: true, ..Plan::stormy() });
    assert!(seen.migrated > 0 && seen.stopped > 0, "nothing was moved or stopped: {seen:?}");
}

#[test]
fn flows_that_operators_stop_and_release_are_moved_or_stay_and_none_is_lost() {
    let seen = under_seeds(Plan {
        migrates: true,
        operators: true,
        bad_data: true,
        crashes: true,
        duplicates: true,
        ..Plan::calm()
    });
    assert!(seen.migrated > 0 && seen.parked > 0, "nothing was ever moved or parked: {seen:?}");
}

#[test]
fn lanes_are_added_in_the_midst_of_faults_and_nothing_is_lost_or_decided_twice() {
    let seen = under_seeds(Plan { grows: true, ..Plan::stormy() });
    assert!(seen.grown > 0 && seen.forwarded > 0, "no lane was ever added: {seen:?}");
}

#[test]
fn flows_that_stand_still_or_migrate_find_their_new_lane() {
    let seen = under_seeds(Plan {
        grows: true,
        migrates: true,
        operators: true,
        bad_data: true,
        crashes: true,
        duplicates: true,
        ..Plan::calm()
    });
    assert!(seen.grown > 0 && seen.migrated > 0 && seen.parked > 0, "too quiet: {seen:?}");
}

#[test]
fn both_majors_of_a_command_are_one_payout_in_the_midst_of_faults() {
    under_seeds(Plan {
        majors: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        lost_answers: true,
        ambiguous_commits: true,
        operators: true,
        ..Plan::calm()
    });
}

#[test]
fn payouts_of_the_first_major_are_moved_to_the_journey_of_the_second_and_none_is_lost() {
    let seen = under_seeds(Plan {
        majors: true,
        from_first: true,
        migrates: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        lost_answers: true,
        ..Plan::calm()
    });
    assert!(seen.migrated > 0, "nothing was ever moved");
}

#[test]
fn what_was_erased_is_recognised_by_the_hash_of_its_first_major() {
    let seen = under_seeds(Plan {
        from_first: true,
        migrates: true,
        erasures: true,
        crashes: true,
        duplicates: true,
        ..Plan::calm()
    });
    assert!(seen.erased > 0 && seen.migrated > 0, "nobody was erased or moved: {seen:?}");
}

#[test]
fn a_customer_is_erased_only_after_their_flows_and_what_comes_later_gets_a_new_key() {
    let seen = under_seeds(Plan {
        erasures: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        lost_answers: true,
        broken_producers: true,
        ambiguous_commits: true,
        ..Plan::calm()
    });
    assert!(seen.erased > 0 && seen.refused > 0, "nobody was erased or refused: {seen:?}");
}

#[test]
fn a_database_that_goes_back_in_time_is_noticed_and_settled_and_nothing_is_paid_or_told_twice() {
    let seen = under_seeds(Plan {
        restores: true,
        crashes: true,
        pauses: true,
        duplicates: true,
        lost_answers: true,
        ambiguous_commits: true,
        broken_producers: true,
        ..Plan::calm()
    });
    assert!(
        seen.found_out > 0 && seen.forgotten_writes > 0 && seen.forgotten_endings > 0,
        "nothing was ever lost: {seen:?}"
    );
}

#[test]
fn what_a_lane_told_where_its_database_knows_nothing_of_it_is_noticed() {
    (1..=SEEDS).for_each(World::knows_nothing);
}

#[test]
fn an_engine_that_is_left_running_over_a_restore_never_publishes_what_the_database_forgot() {
    (1..=SEEDS).for_each(World::left_running);
}
