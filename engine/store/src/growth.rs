//! More lanes, as pure functions: what stands in the way, which flows live elsewhere afterwards, what each lane's journal
//! says of it. It reads and writes nothing: `growing` does that in Postgres, the twin in memory.

use signalbox_schemas::{AggregateId, FlowId, LaneId, Micros, MigrationId, home_lane};
use std::collections::BTreeMap;
use std::fmt;

use crate::journal::{GENESIS, JournalRow, seal};

/// How many lanes there are to be, and who wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowthOrder {
    /// Lanes afterwards.
    pub to: u16,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What stands in the way of more lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrowthHindrance {
    /// Lanes never become fewer.
    Fewer {
        /// Lanes there are.
        from: u16,
        /// Lanes wanted.
        to: u16,
    },
    /// An engine works on the lane.
    Held {
        /// The lane.
        lane: LaneId,
        /// The engine.
        owner: String,
    },
    /// A check of the lane has failed.
    Stopped {
        /// The lane.
        lane: LaneId,
        /// Which one.
        reason: String,
    },
    /// Records are committed and not known to be published.
    Unpublished {
        /// The lane.
        lane: LaneId,
        /// How many at most.
        records: i64,
    },
    /// Some lanes have not ended a migration of flows: a flow could pass from one that has to one that has not.
    Migrating {
        /// The migration.
        migration: MigrationId,
        /// Lanes that have ended it.
        ended: u16,
    },
}

impl fmt::Display for GrowthHindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fewer { from, to } => {
                write!(f, "there are {from} lanes, {to} are wanted: lanes never become fewer")
            }
            Self::Held { lane, owner } => {
                write!(f, "lane {lane} is held by {owner}: stop the engines in order (SIGTERM)")
            }
            Self::Stopped { lane, reason } => {
                write!(f, "lane {lane} is stopped: {reason}: settle that first")
            }
            Self::Unpublished { lane, records } => write!(
                f,
                "lane {lane} has {records} records that may not be published: start an engine and stop it in order"
            ),
            Self::Migrating { migration, ended } => write!(
                f,
                "migration {migration} has ended in {ended} lanes only: let engines finish it, see `signalbox journeys migrations`"
            ),
        }
    }
}

/// What became of an order for more lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// Every row is in the home lane of its key.
    Done(Grown),
    /// Nothing was changed.
    Refused(Vec<GrowthHindrance>),
}

/// Rows of all lanes, and those that live in another lane than before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grown {
    /// Lanes before.
    pub from: u16,
    /// Lanes now.
    pub to: u16,
    /// Flows, ended ones too.
    pub flows: u64,
    /// Flows that moved.
    pub moved: u64,
    /// Timers that moved with their flows.
    pub timers: u64,
    /// Attempts that moved with their flows.
    pub attempts: u64,
    /// Parked inputs that moved with their flows.
    pub parked: u64,
}

/// What growing needs to know of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneFacts {
    pub(crate) lane: LaneId,
    /// Who holds it, while the lease lasts.
    pub(crate) holder: Option<String>,
    pub(crate) stopped: Option<String>,
    pub(crate) out_seq: i64,
    pub(crate) pub_seq: i64,
    pub(crate) journal_seq: i64,
    pub(crate) journal_head: Vec<u8>,
}

/// A flow with its key and the lane where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FlowHome {
    pub(crate) flow: FlowId,
    pub(crate) aggregate: AggregateId,
    pub(crate) lane: LaneId,
}

/// Flows by where they were and where they are now.
pub(crate) type Traffic = BTreeMap<(LaneId, LaneId), u64>;

/// Everything that stands in the way. Migrations are those that any lane has begun, with the lanes that have ended them.
pub(crate) fn hindrances(
    lanes: &[LaneFacts],
    migrations: &[(MigrationId, u16)],
    to: u16,
) -> Vec<GrowthHindrance> {
    let from = u16::try_from(lanes.len()).unwrap_or(u16::MAX);
    if to < from {
        return vec![GrowthHindrance::Fewer { from, to }];
    }
    let mut found = Vec::new();
    for facts in lanes {
        let lane = facts.lane;
        if let Some(reason) = facts.stopped.clone() {
            found.push(GrowthHindrance::Stopped { lane, reason });
        } else if let Some(owner) = facts.holder.clone() {
            found.push(GrowthHindrance::Held { lane, owner });
        } else if facts.pub_seq < facts.out_seq {
            let records = facts.out_seq - facts.pub_seq;
            found.push(GrowthHindrance::Unpublished { lane, records });
        }
    }
    let open = migrations.iter().filter(|(_, ended)| *ended < from);
    found.extend(open.map(|(migration, ended)| GrowthHindrance::Migrating {
        migration: *migration,
        ended: *ended,
    }));
    found
}

/// Flows that are not in the home lane of their key among so many lanes, and where that is.
pub(crate) fn astray(flows: &[FlowHome], lanes: u16) -> Vec<(&FlowHome, LaneId)> {
    let home = |flow: &FlowHome| home_lane(flow.aggregate.as_str().as_bytes(), lanes);
    flows.iter().map(|flow| (flow, home(flow))).filter(|(flow, home)| flow.lane != *home).collect()
}

/// The row by which each lane's journal tells of the growth, linked to the lane's chain: what a flow did before is in the
/// journal of the lane where it was, what it does from here on in that of its home.
pub(crate) fn told(
    facts: &LaneFacts,
    order: &GrowthOrder,
    from: u16,
    traffic: &Traffic,
    at: Micros,
) -> JournalRow {
    let lane = facts.lane;
    let count = |is_meant: fn(&(LaneId, LaneId), LaneId) -> bool| -> u64 {
        traffic.iter().filter(|(way, _)| is_meant(way, lane)).map(|(_, flows)| flows).sum()
    };
    let (came, left) = (count(|way, lane| way.1 == lane), count(|way, lane| way.0 == lane));
    let head = if facts.journal_head.is_empty() { &GENESIS[..] } else { &facts.journal_head };
    let row = JournalRow {
        lane,
        seq: facts.journal_seq + 1,
        at,
        flow: None,
        flow_rev: 0,
        kind: "lanes".to_owned(),
        input_topic: None,
        input_partition: None,
        input_offset: None,
        actor: order.actor.clone(),
        reason: format!(
            "{from} lanes became {}: {came} flows came, {left} left; {}",
            order.to, order.reason
        ),
        journey: None,
        version: None,
        before: None,
        after: None,
        out_last: facts.out_seq,
        records: Vec::new(),
        prev_hash: Vec::new(),
        hash: Vec::new(),
    };
    seal(row, head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;
    use crate::journal::verify;
    use uuid::Uuid;

    fn lane(lane: u16) -> LaneFacts {
        LaneFacts {
            lane: LaneId(lane),
            holder: None,
            stopped: None,
            out_seq: 7,
            pub_seq: 7,
            journal_seq: 0,
            journal_head: Vec::new(),
        }
    }

    fn flow(number: u128, lanes: u16) -> FlowHome {
        let aggregate = AggregateId::from(format!("p-{number}"));
        let lane = home_lane(aggregate.as_str().as_bytes(), lanes);
        FlowHome { flow: FlowId(Uuid::from_u128(number)), aggregate, lane }
    }

    #[test]
    fn a_flow_moves_to_the_home_of_its_key_and_to_nowhere_else() {
        let flows: Vec<FlowHome> = (0..1_000).map(|number| flow(number, 8)).collect();
        assert_eq!(astray(&flows, 8), [], "with as many lanes as before nobody moves");
        let moved = astray(&flows, 12);
        for (flow, home) in &moved {
            assert_eq!(*home, home_lane(flow.aggregate.as_str().as_bytes(), 12));
        }
        // A key stays where its hash has the same rest by 8 and by 12: a third of all.
        assert!((600..730).contains(&moved.len()), "{} of 1000 moved", moved.len());
        let settled: Vec<FlowHome> = (0..1_000).map(|number| flow(number, 12)).collect();
        assert_eq!(astray(&settled, 12), []);
    }

    #[test]
    fn twice_as_many_lanes_take_from_each_lane_for_one_other_only() {
        let flows: Vec<FlowHome> = (0..1_000).map(|number| flow(number, 8)).collect();
        for (flow, home) in astray(&flows, 16) {
            assert_eq!(home.0, flow.lane.0 + 8);
        }
    }

    #[test]
    fn whatever_is_unfinished_stands_in_the_way() {
        let migration = MigrationId(Uuid::from_u128(1));
        let is_in_the_way = |lanes: &[LaneFacts], ended: u16, to| {
            !hindrances(lanes, &[(migration, ended)], to).is_empty()
        };
        let quiet = [lane(0), lane(1)];
        let rows = [
            ("all is quiet", quiet.to_vec(), 2, 3, false),
            ("as many as there are", quiet.to_vec(), 2, 2, false),
            ("fewer", quiet.to_vec(), 2, 1, true),
            ("held", vec![lane(0), LaneFacts { holder: Some("e".into()), ..lane(1) }], 2, 3, true),
            (
                "stopped",
                vec![LaneFacts { stopped: Some("o".into()), ..lane(0) }, lane(1)],
                2,
                3,
                true,
            ),
            ("unpublished", vec![lane(0), LaneFacts { pub_seq: 6, ..lane(1) }], 2, 3, true),
            ("a migration that one lane has not ended", quiet.to_vec(), 1, 3, true),
        ];
        for (what, lanes, ended, to, expected) in rows {
            assert_eq!(is_in_the_way(&lanes, ended, to), expected, "{what}");
        }
    }

    #[test]
    fn every_lane_old_and_new_tells_of_it_in_its_own_chain() {
        let order =
            GrowthOrder { to: 3, actor: "ann".to_owned(), reason: "more customers".to_owned() };
        let traffic = Traffic::from([((LaneId(0), LaneId(2)), 5), ((LaneId(1), LaneId(2)), 2)]);
        let before = told(&lane(0), &order, 2, &Traffic::new(), Micros(1));
        let old = LaneFacts { journal_seq: 1, journal_head: before.hash.clone(), ..lane(0) };
        let rows = [before, told(&old, &order, 2, &traffic, Micros(2))];
        assert!(verify(&rows, 0, &GENESIS).is_ok());
        let says = |lane: LaneFacts| told(&lane, &order, 2, &traffic, Micros(2)).reason;
        assert_eq!(says(lane(0)), "2 lanes became 3: 0 flows came, 5 left; more customers");
        assert_eq!(says(lane(2)), "2 lanes became 3: 7 flows came, 0 left; more customers");
    }
}
