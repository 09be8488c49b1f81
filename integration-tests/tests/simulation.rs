//! Ring 2: workers, adapters, people and time in one process, from one seed, with faults at every point of the protocol.
//! A failing seed is printed; `SIMULATION_SEED=n` replays it, `SIMULATION_SEEDS=n` runs more. It proves nothing about
//! Kafka or Postgres themselves: ring 3 does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stderr, clippy::as_conversions)]

mod simulation {
    pub(crate) mod adapter;
    pub(crate) mod business;
    pub(crate) mod check;
    pub(crate) mod chronicle;
    pub(crate) mod faults;
    pub(crate) mod forwards;
    pub(crate) mod growing;
    pub(crate) mod migrations;
    pub(crate) mod operators;
    pub(crate) mod people;
    pub(crate) mod plan;
    pub(crate) mod restore;
    pub(crate) mod run;
    pub(crate) mod scenarios;
    pub(crate) mod standing;
    pub(crate) mod stories;
    pub(crate) mod vendor;
    pub(crate) mod world;
}

/// Runs allocate more than anything else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use simulation::check::Standstills;
use simulation::chronicle::Chronicle;
use simulation::plan::{Fault, Plan, STORM};
use simulation::run::{Failure, many, once, replay, story_named};
use simulation::stories::{STORIES, Story};
use simulation::world::World;

/// Seeds of each story that are run in CI; a soak runs more.
const SEEDS: u64 = 60;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Tells a story under one seed, or under many; a seed that fails is shrunk and told.
fn under_seeds(name: &str) {
    let story = story_named(name);
    let (first, count) = match setting("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (1, setting("SIMULATION_SEEDS").unwrap_or(SEEDS)),
    };
    let seen = many(first, count, |_| story).unwrap_or_else(|failure| panic!("{failure}"));
    let (runs, seen) = &seen[name];
    assert!(*runs < SEEDS || (story.shown)(seen), "too tame to show anything: {seen:?}");
}

/// Seeds of all stories in turns: what a soak runs, and what a line that was printed brings back.
#[test]
fn whatever_the_seed_every_story_holds() {
    if let Ok(line) = std::env::var("SIMULATION_REPLAY") {
        let (seen, log) = replay(&line, &STORIES).unwrap_or_else(|failure| panic!("{failure}"));
        eprintln!("{}\nholds: {seen:?}", log.join("\n"));
        return;
    }
    let (first, count) =
        (setting("SIMULATION_SEED").unwrap_or(1), setting("SIMULATION_SEEDS").unwrap_or(SEEDS));
    let stories = u64::try_from(STORIES.len()).unwrap();
    let begun = std::time::Instant::now();
    let story = |seed| &STORIES[usize::try_from(seed % stories).unwrap()];
    let seen = many(first, count, story).unwrap_or_else(|failure| panic!("{failure}"));
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let per_minute = count as f64 / minutes;
    eprintln!("seeds {first} to {}: {per_minute:.0} a minute", first + count - 1);
    for (name, (runs, seen)) in seen {
        eprintln!("{runs:>7} {name}\n        {seen:?}");
    }
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
    under_seeds("without_faults_every_flow_ends_once");
}

#[test]
fn duplicated_and_reordered_outcomes_change_nothing() {
    under_seeds("duplicated_and_reordered_outcomes_change_nothing");
}

#[test]
fn a_worker_that_crashes_at_any_point_loses_and_repeats_nothing() {
    under_seeds("a_worker_that_crashes_at_any_point_loses_and_repeats_nothing");
}

#[test]
fn a_worker_that_is_stopped_past_its_lease_is_fenced_and_its_late_records_are_recognised() {
    under_seeds(
        "a_worker_that_is_stopped_past_its_lease_is_fenced_and_its_late_records_are_recognised",
    );
}

#[test]
fn workers_that_leave_and_come_again_in_the_midst_of_faults_lose_and_repeat_nothing() {
    under_seeds("workers_that_leave_and_come_again_in_the_midst_of_faults_lose_and_repeat_nothing");
}

#[test]
fn lanes_are_handed_over_one_at_a_time_while_the_others_go_on() {
    under_seeds("lanes_are_handed_over_one_at_a_time_while_the_others_go_on");
}

#[test]
fn commits_with_a_lost_answer_are_resolved_either_way() {
    under_seeds("commits_with_a_lost_answer_are_resolved_either_way");
}

#[test]
fn a_commit_in_doubt_while_the_producer_breaks_is_not_taken_for_a_lost_one() {
    under_seeds("a_commit_in_doubt_while_the_producer_breaks_is_not_taken_for_a_lost_one");
}

#[test]
fn a_broken_producer_is_replaced_without_a_gap() {
    under_seeds("a_broken_producer_is_replaced_without_a_gap");
}

#[test]
fn records_at_a_foreign_lane_are_forwarded_once() {
    under_seeds("records_at_a_foreign_lane_are_forwarded_once");
}

#[test]
fn a_forward_before_which_one_is_missing_stops_its_home() {
    simulation::forwards::stop_behind_a_gap();
}

#[test]
fn a_flow_may_stand_still_twice_in_one_tick() {
    simulation::standing::twice_in_one_tick();
}

#[test]
fn a_lost_tail_of_a_topic_is_published_again() {
    under_seeds("a_lost_tail_of_a_topic_is_published_again");
}

#[test]
fn a_payout_that_operators_pause_and_resume_under_crashes_loses_nothing() {
    under_seeds("a_payout_that_operators_pause_and_resume_under_crashes_loses_nothing");
}

#[test]
fn a_flow_parked_by_bad_data_and_released_after_a_fix_loses_and_reorders_nothing() {
    under_seeds("a_flow_parked_by_bad_data_and_released_after_a_fix_loses_and_reorders_nothing");
}

#[test]
fn flows_are_moved_to_a_new_version_in_the_midst_of_faults_and_none_is_lost() {
    under_seeds("flows_are_moved_to_a_new_version_in_the_midst_of_faults_and_none_is_lost");
}

#[test]
fn a_migration_is_stopped_half_way_in_the_midst_of_faults_and_none_is_moved_after_that() {
    under_seeds(
        "a_migration_is_stopped_half_way_in_the_midst_of_faults_and_none_is_moved_after_that",
    );
}

#[test]
fn flows_that_operators_stop_and_release_are_moved_or_stay_and_none_is_lost() {
    under_seeds("flows_that_operators_stop_and_release_are_moved_or_stay_and_none_is_lost");
}

#[test]
fn lanes_are_added_in_the_midst_of_faults_and_nothing_is_lost_or_decided_twice() {
    under_seeds("lanes_are_added_in_the_midst_of_faults_and_nothing_is_lost_or_decided_twice");
}

#[test]
fn flows_that_stand_still_or_migrate_find_their_new_lane() {
    under_seeds("flows_that_stand_still_or_migrate_find_their_new_lane");
}

#[test]
fn both_majors_of_a_command_are_one_payout_in_the_midst_of_faults() {
    under_seeds("both_majors_of_a_command_are_one_payout_in_the_midst_of_faults");
}

#[test]
fn payouts_of_the_first_major_are_moved_to_the_journey_of_the_second_and_none_is_lost() {
    under_seeds(
        "payouts_of_the_first_major_are_moved_to_the_journey_of_the_second_and_none_is_lost",
    );
}

#[test]
fn what_was_erased_is_recognised_by_the_hash_of_its_first_major() {
    under_seeds("what_was_erased_is_recognised_by_the_hash_of_its_first_major");
}

#[test]
fn a_customer_is_erased_only_after_their_flows_and_what_comes_later_gets_a_new_key() {
    under_seeds("a_customer_is_erased_only_after_their_flows_and_what_comes_later_gets_a_new_key");
}

#[test]
fn a_database_that_goes_back_in_time_is_noticed_and_settled_and_nothing_is_paid_or_told_twice() {
    under_seeds(
        "a_database_that_goes_back_in_time_is_noticed_and_settled_and_nothing_is_paid_or_told_twice",
    );
}

#[test]
fn what_a_lane_told_where_its_database_knows_nothing_of_it_is_noticed() {
    under_seeds("what_a_lane_told_where_its_database_knows_nothing_of_it_is_noticed");
}

#[test]
fn an_engine_that_is_left_running_over_a_restore_never_publishes_what_the_database_forgot() {
    under_seeds(
        "an_engine_that_is_left_running_over_a_restore_never_publishes_what_the_database_forgot",
    );
}

#[test]
fn whatever_can_come_together_comes_together() {
    under_seeds("whatever_can_come_together_comes_together");
}

#[test]
fn a_database_whose_clock_jumps_both_ways_loses_and_repeats_nothing() {
    under_seeds("a_database_whose_clock_jumps_both_ways_loses_and_repeats_nothing");
}

#[test]
fn while_the_registry_is_away_lanes_wait_and_no_record_dies_of_it() {
    under_seeds("while_the_registry_is_away_lanes_wait_and_no_record_dies_of_it");
}

#[test]
fn tails_are_lost_while_workers_leave_and_operators_act() {
    under_seeds("tails_are_lost_while_workers_leave_and_operators_act");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let story = story_named("whatever_can_come_together_comes_together");
    let told = || {
        let chronicle = Chronicle::kept();
        once(story, 3, story.plan, &chronicle).unwrap();
        chronicle.lines()
    };
    let (first, second) = (told(), told());
    let differs = first.iter().zip(&second).position(|(one, other)| one != other);
    assert_eq!(differs.map(|at| (&first[at], &second[at])), None, "at line {differs:?}");
    assert_eq!(first.len(), second.len());
}

/// A run of faults, with a check that is wrong: it holds only where nobody leaves.
fn where_nobody_leaves(seed: u64, plan: Plan, chronicle: &Chronicle) -> Standstills {
    let seen = World::run(seed, plan, chronicle);
    assert_eq!(seen.handed_over, 0, "somebody left");
    seen
}

#[test]
fn a_run_that_fails_is_shrunk_to_what_it_fails_by_and_can_be_replayed() {
    static WRONG: [Story; 1] = [Story {
        name: "a_wrong_story",
        plan: Plan::with(STORM).and(&[Fault::Leaves, Fault::Operators]),
        run: where_nobody_leaves,
        shown: |_| true,
    }];
    let failure = many(1, 20, |_| &WRONG[0]).expect_err("nobody left in twenty runs");
    let wrong = |told: &Failure| told.broken.what.contains("somebody left");
    assert!(wrong(&failure), "{failure}");
    let usual = Plan::with(&[Fault::Leaves]);
    assert!(failure.plan.flows < usual.flows && failure.plan.turns < usual.turns, "{failure}");
    let faults = Fault::ALL.into_iter().filter(|fault| failure.plan.has(*fault));
    assert_eq!(faults.collect::<Vec<_>>(), [Fault::Leaves], "{failure}");
    let leaves = |line: &String| line.contains("leaves");
    assert!(failure.broken.log.iter().any(leaves), "{failure}");

    let again = replay(&failure.line(), &WRONG).expect_err("it fails again");
    assert_eq!((again.plan, &again.broken.log), (failure.plan, &failure.broken.log));
    assert!(wrong(&again), "{again}");
}

#[test]
fn every_story_has_its_test() {
    let source = include_str!("simulation.rs");
    for story in &STORIES {
        let test = format!("fn {}()", story.name);
        assert!(source.contains(&test), "{} is no test", story.name);
    }
}
