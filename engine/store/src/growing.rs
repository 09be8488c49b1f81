//! More lanes in Postgres: one transaction in which no lane can be claimed, and which either leaves every row in the home
//! lane of its key or changes nothing. What is decided is pure, in `growth`; the statements are in the tables' files.

use signalbox_schemas::LaneId;
use sqlx::Executor;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;

use crate::error::StoreError;
use crate::growth::{
    Grown, Growth, GrowthHindrance, GrowthOrder, Traffic, astray, hindrances, told,
};
use crate::tables;
use crate::tables::together::Together;

/// Flows looked at in one statement.
const PAGE: usize = 10_000;

/// What stands in the way of more lanes now, and what would move.
pub(crate) async fn preview(
    connection: &mut PgConnection,
    to: u16,
) -> Result<(Vec<GrowthHindrance>, Grown), StoreError> {
    let lanes = tables::lane::facts(connection).await?;
    let migrations = tables::migration::ended_by_lanes(connection).await?;
    let from = u16::try_from(lanes.len()).unwrap_or(u16::MAX);
    // With as many lanes as there are nothing is moved, so nothing can be in the way.
    let found = if from == to { Vec::new() } else { hindrances(&lanes, &migrations, to) };
    let (flows, traffic) = homes(connection, to, Astray::Count).await?;
    let moved = traffic.values().sum();
    Ok((found, Grown { from, to, flows, moved, ..Grown::default() }))
}

/// Adds lanes and moves what lives elsewhere from now on; or says what stands in the way. With as many lanes as there are
/// it moves nothing and says whether every row is where it belongs.
pub(crate) async fn grow(
    connection: &mut PgConnection,
    order: &GrowthOrder,
) -> Result<Growth, StoreError> {
    connection.execute("BEGIN").await?;
    connection.execute("SET LOCAL lock_timeout = '10s'").await?;
    connection.execute("SET LOCAL synchronous_commit = on").await?;
    // Engines go on while rows are only looked at.
    if tables::lane::count(connection).await? != order.to {
        tables::lane::lock_all(connection).await?;
    }
    let lanes = tables::lane::facts(connection).await?;
    let from = u16::try_from(lanes.len()).unwrap_or(u16::MAX);
    let mut grown = Grown { from, to: order.to, ..Grown::default() };
    if from != order.to {
        let migrations = tables::migration::ended_by_lanes(connection).await?;
        let found = hindrances(&lanes, &migrations, order.to);
        if !found.is_empty() {
            connection.execute("ROLLBACK").await?;
            return Ok(Growth::Refused(found));
        }
        grown = remap(connection, order, from).await?;
    }
    let flows = verify(connection, order.to).await?;
    if from != order.to && grown.flows != flows {
        let before = grown.flows;
        return Err(StoreError::Invariant(format!("flow: {before} before, {flows} after")));
    }
    connection.execute("COMMIT").await?;
    Ok(Growth::Done(Grown { flows, ..grown }))
}

async fn remap(
    connection: &mut PgConnection,
    order: &GrowthOrder,
    from: u16,
) -> Result<Grown, StoreError> {
    tables::lane::create(connection, order.to).await?;
    tables::migration::end_in_new_lanes(connection, LaneId(from), order.to).await?;
    let (flows, traffic) = homes(connection, order.to, Astray::Move).await?;
    let timers = tables::timer::follow_flows(connection).await?;
    let attempts = tables::attempt::follow_flows(connection).await?;
    let parked = tables::parked::follow_flows(connection).await?;
    tables::published_ending::follow_flows(connection).await?;
    let at = tables::now(connection).await?;
    let lanes = tables::lane::facts(connection).await?;
    let rows: Vec<_> = lanes.iter().map(|facts| told(facts, order, from, &traffic, at)).collect();
    let mut together = Together::default();
    tables::journal::append(&mut together, &rows);
    together.run(connection).await?;
    tables::lane::journaled(connection, &rows).await?;
    let moved = traffic.values().sum();
    Ok(Grown { from, to: order.to, flows, moved, timers, attempts, parked })
}

/// What to do with a flow that is not at home.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Astray {
    Count,
    Move,
}

/// Goes through all flows; how many there are, and the ways of those that are not in the home lane of their key.
async fn homes(
    connection: &mut PgConnection,
    lanes: u16,
    act: Astray,
) -> Result<(u64, Traffic), StoreError> {
    let (mut flows, mut traffic, mut after) = (0_u64, BTreeMap::new(), None);
    loop {
        let page = tables::flow::homes(connection, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((flows, traffic)) };
        after = Some(last.flow);
        flows += u64::try_from(page.len()).unwrap_or(u64::MAX);
        let moves = astray(&page, lanes);
        for (flow, home) in &moves {
            *traffic.entry((flow.lane, *home)).or_default() += 1;
        }
        if act == Astray::Move {
            let rows: Vec<_> = moves.iter().map(|(flow, home)| (flow.flow, *home)).collect();
            tables::flow::rehome(connection, &rows).await?;
        }
    }
}

/// Whether every row is in the home lane of its key; how many flows there are.
async fn verify(connection: &mut PgConnection, lanes: u16) -> Result<u64, StoreError> {
    let (flows, traffic) = homes(connection, lanes, Astray::Count).await?;
    let astray = [
        ("flow", traffic.values().sum()),
        ("timer", tables::timer::away_from_flows(connection).await?),
        ("attempt", tables::attempt::away_from_flows(connection).await?),
        ("parked", tables::parked::away_from_flows(connection).await?),
    ];
    match astray.iter().find(|(_, rows)| *rows > 0) {
        None => Ok(flows),
        Some((table, rows)) => Err(StoreError::Invariant(format!(
            "{table}: {rows} rows are not in the home lane of their key among {lanes} lanes"
        ))),
    }
}
