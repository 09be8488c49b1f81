//! More lanes in memory: the same decisions as in Postgres, under one lock.

use signalbox_schemas::{AggregateId, FlowId, LaneId, Micros};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{LaneState, MemoryStore, Tables};
use crate::growth::{
    FlowHome, Grown, Growth, GrowthOrder, LaneFacts, Traffic, astray, hindrances, told,
};
use crate::journal::JournalRow;
use crate::rows::FlowRow;

impl MemoryStore {
    /// As `Reader::grow`.
    pub fn grow(&self, order: &GrowthOrder) -> Growth {
        let mut tables = self.lock();
        let facts = facts(&tables);
        let from = u16::try_from(facts.len()).unwrap_or(u16::MAX);
        let found = hindrances(&facts, &tables.migrations.ended_by_lanes(), order.to);
        if from != order.to && !found.is_empty() {
            return Growth::Refused(found);
        }
        for lane in from..order.to {
            tables.lanes.insert(LaneId(lane), LaneState::default());
            tables.migrations.end_in(LaneId(lane));
        }
        let traffic = rehome(&mut tables, order.to);
        let (mut timers, mut attempts, mut parked) = (0, 0, 0);
        let homes: BTreeMap<FlowId, LaneId> =
            tables.flows.values().map(|flow| (flow.id, flow.lane)).collect();
        let follow = |flow: FlowId, lane: &mut LaneId, count: &mut u64| {
            if let Some(home) = homes.get(&flow).filter(|home| *home != lane) {
                *lane = *home;
                *count += 1;
            }
        };
        tables.timers.values_mut().for_each(|row| follow(row.flow, &mut row.lane, &mut timers));
        tables.parked.values_mut().for_each(|row| follow(row.flow, &mut row.lane, &mut parked));
        let mut endings = 0;
        tables.endings.values_mut().for_each(|row| follow(row.flow, &mut row.lane, &mut endings));
        let plans = tables.attempts.values_mut().map(|row| &mut row.plan);
        plans.for_each(|plan| follow(plan.flow, &mut plan.lane, &mut attempts));
        if order.to > from {
            journal(&mut tables, order, from, &traffic);
        }
        let flows = u64::try_from(tables.flows.len()).unwrap_or(u64::MAX);
        let moved = traffic.values().sum();
        Growth::Done(Grown { from, to: order.to, flows, moved, timers, attempts, parked })
    }

    /// As `Reader::lane_count`.
    pub fn lane_count(&self) -> u16 {
        u16::try_from(self.lock().lanes.len()).unwrap_or(u16::MAX)
    }

    /// As `Reader::journal_of`.
    pub fn journal_of(&self, flow: FlowId) -> Vec<JournalRow> {
        let tables = self.lock();
        let rows = tables.journal.values().flatten().filter(|row| row.flow == Some(flow));
        let mut rows: Vec<JournalRow> = rows.map(|row| JournalRow::clone(row)).collect();
        let mut since: BTreeMap<(i64, LaneId), Micros> = BTreeMap::new();
        for row in &rows {
            let first = since.entry((row.flow_rev, row.lane)).or_insert(row.at);
            *first = row.at.min(*first);
        }
        let began = |row: &JournalRow| since.get(&(row.flow_rev, row.lane)).copied();
        rows.sort_by_key(|row| (row.flow_rev, began(row), row.lane, row.seq));
        rows
    }

    /// Rows that are not in the home lane of their key.
    pub fn away_from_home(&self) -> Vec<AggregateId> {
        let lanes = self.lane_count();
        let tables = self.lock();
        let homes = homes(&tables);
        let mut away: Vec<AggregateId> =
            astray(&homes, lanes).into_iter().map(|(flow, _)| flow.aggregate.clone()).collect();
        let timers = tables.timers.values().map(|row| (row.flow, row.lane));
        let attempts = tables.attempts.values().map(|row| (row.plan.flow, row.plan.lane));
        let parked = tables.parked.values().map(|row| (row.flow, row.lane));
        for (id, lane) in timers.chain(attempts).chain(parked) {
            let flow = tables.flows.get(&id).filter(|flow| flow.lane != lane);
            away.extend(flow.map(|flow| flow.aggregate.clone()));
        }
        away
    }
}

fn facts(tables: &Tables) -> Vec<LaneFacts> {
    let facts = |(lane, state): (&LaneId, &LaneState)| LaneFacts {
        lane: *lane,
        holder: state.owner.clone().filter(|_| state.lease_until >= tables.now),
        stopped: state.stopped.clone(),
        out_seq: state.out_seq,
        pub_seq: state.pub_seq,
        journal_seq: state.journal_seq,
        journal_head: state.journal_head.clone(),
    };
    tables.lanes.iter().map(facts).collect()
}

fn homes(tables: &Tables) -> Vec<FlowHome> {
    let home = |flow: &FlowRow| FlowHome {
        flow: flow.id,
        aggregate: flow.aggregate.clone(),
        lane: flow.lane,
    };
    tables.flows.values().map(Arc::as_ref).map(home).collect()
}

fn rehome(tables: &mut Tables, lanes: u16) -> Traffic {
    let mut traffic = Traffic::new();
    let homes = homes(tables);
    for (flow, home) in astray(&homes, lanes) {
        *traffic.entry((flow.lane, home)).or_default() += 1;
        if let Some(row) = tables.flows.get_mut(&flow.flow) {
            Arc::make_mut(row).lane = home;
        }
    }
    traffic
}

/// Every lane tells of it, and whoever still takes a lane for its own is fenced.
fn journal(tables: &mut Tables, order: &GrowthOrder, from: u16, traffic: &Traffic) {
    let at = tables.now;
    for facts in facts(tables) {
        let row = told(&facts, order, from, traffic, at);
        if let Some(lane) = tables.lanes.get_mut(&facts.lane) {
            (lane.owner, lane.epoch, lane.rev) = (None, lane.epoch + 1, lane.rev + 1);
            (lane.journal_seq, lane.journal_head) = (row.seq, row.hash.clone());
        }
        tables.journal.entry(facts.lane).or_default().push(Arc::new(row));
    }
}
