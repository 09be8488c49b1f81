//! The stories of the simulation: which faults come together, and what must have been seen in many runs, or it was too
//! tame to show anything. Each is a test of its own; a soak takes them in turns.

use super::check::Standstills;
use super::chronicle::Chronicle;
use super::plan::Fault::{
    AmbiguousCommits, BadData, BrokenProducers, ClockJumps, Crashes, Duplicates, Erasures,
    ForeignPartitions, FromFirst, Grows, Leaves, LostAnswers, LostTails, Majors, Migrates,
    Operators, Pauses, RegistryAway, Restores, Stops,
};
use super::plan::{Plan, STORM};
use super::world::World;

/// One story.
pub(crate) struct Story {
    /// The test that tells it.
    pub(crate) name: &'static str,
    pub(crate) plan: Plan,
    /// One run of it from a seed; panics with what does not hold.
    pub(crate) run: fn(u64, Plan, &Chronicle) -> Standstills,
    /// Whether many runs of it together have shown what it is about.
    pub(crate) shown: fn(&Standstills) -> bool,
}

const fn storm(name: &'static str, plan: Plan, shown: fn(&Standstills) -> bool) -> Story {
    Story { name, plan, run: World::run, shown }
}

fn anything(_: &Standstills) -> bool {
    true
}

/// Every story.
pub(crate) static STORIES: [Story; 29] = [
    storm("without_faults_every_flow_ends_once", Plan::CALM, anything),
    storm("duplicated_and_reordered_outcomes_change_nothing", Plan::with(&[Duplicates]), |seen| {
        seen.recognised > 0
    }),
    storm(
        "a_worker_that_crashes_at_any_point_loses_and_repeats_nothing",
        Plan::with(&[Crashes, Duplicates, LostAnswers]),
        anything,
    ),
    storm(
        "a_worker_that_is_stopped_past_its_lease_is_fenced_and_its_late_records_are_recognised",
        Plan::with(&[Pauses, Crashes, Duplicates, LostAnswers]),
        anything,
    ),
    storm(
        "workers_that_leave_and_come_again_in_the_midst_of_faults_lose_and_repeat_nothing",
        Plan::with(STORM).and(&[Leaves]),
        |seen| seen.handed_over > 0,
    ),
    Story {
        name: "lanes_are_handed_over_one_at_a_time_while_the_others_go_on",
        plan: Plan::CALM,
        run: World::hand_over,
        shown: anything,
    },
    storm(
        "commits_with_a_lost_answer_are_resolved_either_way",
        Plan::with(&[AmbiguousCommits, Crashes]),
        anything,
    ),
    Story {
        name: "a_commit_in_doubt_while_the_producer_breaks_is_not_taken_for_a_lost_one",
        plan: Plan::CALM,
        run: World::commit_in_doubt,
        shown: anything,
    },
    storm(
        "a_broken_producer_is_replaced_without_a_gap",
        Plan::with(&[BrokenProducers, Duplicates]),
        anything,
    ),
    storm(
        "records_at_a_foreign_lane_are_forwarded_once",
        Plan::with(&[ForeignPartitions, Crashes]),
        |seen| seen.forwarded > 0,
    ),
    storm("a_lost_tail_of_a_topic_is_published_again", Plan::with(&[LostTails, Crashes]), anything),
    storm(
        "a_payout_that_operators_pause_and_resume_under_crashes_loses_nothing",
        Plan::with(&[Operators, Crashes, Duplicates, LostAnswers, AmbiguousCommits]),
        |seen| seen.paused > 0 && seen.held > 0,
    ),
    storm(
        "a_flow_parked_by_bad_data_and_released_after_a_fix_loses_and_reorders_nothing",
        Plan::with(&[BadData, Operators, Crashes, Pauses, Duplicates]),
        |seen| seen.parked > 0 && seen.held > 0 && seen.set_aside > 0,
    ),
    storm(
        "flows_are_moved_to_a_new_version_in_the_midst_of_faults_and_none_is_lost",
        Plan::with(STORM).and(&[Migrates]),
        |seen| seen.migrated > 0,
    ),
    storm(
        "a_migration_is_stopped_half_way_in_the_midst_of_faults_and_none_is_moved_after_that",
        Plan::with(STORM).and(&[Migrates, Stops]),
        |seen| seen.migrated > 0 && seen.stopped > 0,
    ),
    storm(
        "flows_that_operators_stop_and_release_are_moved_or_stay_and_none_is_lost",
        Plan::with(&[Migrates, Operators, BadData, Crashes, Duplicates]),
        |seen| seen.migrated > 0 && seen.parked > 0,
    ),
    storm(
        "lanes_are_added_in_the_midst_of_faults_and_nothing_is_lost_or_decided_twice",
        Plan::with(STORM).and(&[Grows]),
        |seen| seen.grown > 0 && seen.forwarded > 0,
    ),
    storm(
        "flows_that_stand_still_or_migrate_find_their_new_lane",
        Plan::with(&[Grows, Migrates, Operators, BadData, Crashes, Duplicates]),
        |seen| seen.grown > 0 && seen.migrated > 0 && seen.parked > 0,
    ),
    storm(
        "both_majors_of_a_command_are_one_payout_in_the_midst_of_faults",
        Plan::with(&[
            Majors,
            Crashes,
            Pauses,
            Duplicates,
            LostAnswers,
            AmbiguousCommits,
            Operators,
        ]),
        anything,
    ),
    storm(
        "payouts_of_the_first_major_are_moved_to_the_journey_of_the_second_and_none_is_lost",
        Plan::with(&[Majors, FromFirst, Migrates, Crashes, Pauses, Duplicates, LostAnswers]),
        |seen| seen.migrated > 0,
    ),
    storm(
        "what_was_erased_is_recognised_by_the_hash_of_its_first_major",
        Plan::with(&[FromFirst, Migrates, Erasures, Crashes, Duplicates]),
        |seen| seen.erased > 0 && seen.migrated > 0,
    ),
    storm(
        "a_customer_is_erased_only_after_their_flows_and_what_comes_later_gets_a_new_key",
        Plan::with(STORM).and(&[Erasures]),
        |seen| seen.erased > 0 && seen.refused > 0,
    ),
    storm(
        "a_database_that_goes_back_in_time_is_noticed_and_settled_and_nothing_is_paid_or_told_twice",
        Plan::with(STORM).and(&[Restores]),
        |seen| seen.found_out > 0 && seen.forgotten_writes > 0 && seen.forgotten_endings > 0,
    ),
    Story {
        name: "what_a_lane_told_where_its_database_knows_nothing_of_it_is_noticed",
        plan: Plan::CALM,
        run: World::knows_nothing,
        shown: anything,
    },
    Story {
        name: "an_engine_that_is_left_running_over_a_restore_never_publishes_what_the_database_forgot",
        plan: Plan::CALM,
        run: World::left_running,
        shown: anything,
    },
    storm(
        "whatever_can_come_together_comes_together",
        Plan::with(STORM).and(&[
            Leaves,
            Operators,
            BadData,
            Migrates,
            Grows,
            ForeignPartitions,
            Erasures,
            ClockJumps,
            RegistryAway,
        ]),
        |seen| seen.grown > 0 && seen.migrated > 0 && seen.parked > 0 && seen.erased > 0,
    ),
    storm(
        "a_database_whose_clock_jumps_both_ways_loses_and_repeats_nothing",
        Plan::with(STORM).and(&[ClockJumps, Leaves, Operators]),
        |seen| seen.went_back > 0,
    ),
    storm(
        "while_the_registry_is_away_lanes_wait_and_no_record_dies_of_it",
        Plan::with(STORM).and(&[RegistryAway, ForeignPartitions, Operators, BadData]),
        |seen| seen.unanswered > 0,
    ),
    storm(
        "tails_are_lost_while_workers_leave_and_operators_act",
        Plan::with(STORM).and(&[LostTails, Leaves, Operators]),
        |seen| seen.handed_over > 0 && seen.paused > 0,
    ),
];
