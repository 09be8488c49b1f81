//! The load: asks for payouts and takes note of their endings, in the same way for every peer and as `signalbox bench`
//! does: a bounded number under way, the first part left out as warm-up, the run-down too; then a steady low rate.
//! How a peer is asked is its own matter: it takes numbers from one channel and puts numbers that ended into another.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Wanted;
use crate::process::{cpu_of_tree, own_cpu};

/// Share of the flows that warms everything up.
const WARM_UP_PER_CENT: usize = 40;
/// Start of the latency run that is left out.
const LATENCY_WARM_UP: Duration = Duration::from_secs(2);
/// Without an ending for this long the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A peer as the load sees it. An ending that is no completion is an error.
pub(crate) struct Peer {
    pub(crate) asks: Sender<usize>,
    pub(crate) endings: Receiver<Result<usize>>,
}

/// A process tree that is measured, under the name of the part that it is.
pub(crate) type Part = (&'static str, u32);

/// What was found.
pub(crate) struct Figures {
    pub(crate) flows: usize,
    pub(crate) within: Duration,
    /// CPU time per flow, by part; the last is the load, this process.
    pub(crate) cpu: Vec<(&'static str, Duration)>,
    /// From asked to ended at a low rate, sorted.
    pub(crate) times: Vec<Duration>,
}

struct Reading {
    ended: usize,
    at: Instant,
    cpu: Vec<Duration>,
}

impl Reading {
    fn take(ended: usize, parts: &[Part]) -> Self {
        let cpu = parts.iter().map(|(_, pid)| cpu_of_tree(*pid)).chain([own_cpu()]).collect();
        Self { ended, at: Instant::now(), cpu }
    }
}

/// Throughput first, then latency.
pub(crate) async fn measure(mut peer: Peer, wanted: &Wanted, parts: &[Part]) -> Result<Figures> {
    let (from, to) = throughput(&mut peer, wanted, parts).await?;
    let flows = to.ended - from.ended;
    let divisor = u32::try_from(flows).context("too many flows")?;
    let used = from.cpu.iter().zip(&to.cpu).map(|(from, to)| to.saturating_sub(*from) / divisor);
    let cpu = parts.iter().map(|(name, _)| *name).chain(["load"]).zip(used).collect();
    let times = latency(&mut peer, wanted).await?;
    Ok(Figures { flows, within: to.at.duration_since(from.at), cpu, times })
}

/// From the end of the warm-up until the last flow is asked for.
async fn throughput(
    peer: &mut Peer,
    wanted: &Wanted,
    parts: &[Part],
) -> Result<(Reading, Reading)> {
    let warm = wanted.flows * WARM_UP_PER_CENT / 100;
    let (mut asked, mut ended) = (0, 0);
    let (mut from, mut to) = (None, None);
    let mut found = Vec::new();
    while ended < wanted.flows {
        while asked < wanted.flows && asked - ended < wanted.in_flight {
            peer.asks.send(asked).await.context("the peer takes no more")?;
            asked += 1;
        }
        if from.is_some() && to.is_none() && asked == wanted.flows {
            to = Some(Reading::take(ended, parts));
        }
        ended += endings(peer, &mut found).await?.len();
        found.clear();
        if from.is_none() && ended >= warm {
            from = Some(Reading::take(ended, parts));
        }
    }
    match (from, to) {
        (Some(from), Some(to)) if to.ended > from.ended => Ok((from, to)),
        _ => bail!("too few flows for a steady state; --flows must be well above --in-flight"),
    }
}

async fn latency(peer: &mut Peer, wanted: &Wanted) -> Result<Vec<Duration>> {
    let interval = Duration::from_secs(1) / wanted.rate_latency;
    let flows = usize::try_from(wanted.rate_latency * wanted.latency_seconds)?;
    let begun = Instant::now();
    let mut next = begun;
    let mut asked_at: Vec<Instant> = Vec::new();
    let (mut times, mut found, mut ended) = (Vec::new(), Vec::new(), 0);
    while ended < flows {
        while asked_at.len() < flows && Instant::now() >= next {
            next += interval;
            asked_at.push(Instant::now());
            let number = wanted.flows + asked_at.len() - 1;
            peer.asks.send(number).await.context("the peer takes no more")?;
        }
        tokio::select! {
            () = sleep_until(next), if asked_at.len() < flows => continue,
            found = endings(peer, &mut found) => found?,
        };
        let now = Instant::now();
        for number in found.drain(..) {
            ended += 1;
            let asked = number.checked_sub(wanted.flows).and_then(|index| asked_at.get(index));
            let asked = *asked.context("a flow of the throughput run ended twice")?;
            if asked.duration_since(begun) > LATENCY_WARM_UP {
                times.push(now.duration_since(asked));
            }
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// At least one ending, and all that are there. Nothing is lost where this is given up half-way: it waits once, first.
async fn endings<'a>(peer: &mut Peer, found: &'a mut Vec<usize>) -> Result<&'a [usize]> {
    let first = timeout(PATIENCE, peer.endings.recv()).await;
    let first = first.with_context(|| format!("no flow has ended for {PATIENCE:?}"))?;
    found.push(first.context("the peer has stopped")??);
    while let Ok(ended) = peer.endings.try_recv() {
        found.push(ended?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{Peer, measure};
    use crate::Wanted;
    use tokio::sync::mpsc::channel;

    #[tokio::test(start_paused = true)]
    async fn every_flow_is_asked_for_once_and_the_bound_holds() {
        let (asks, mut asked) = channel(1_000);
        let (end, endings) = channel(1_000);
        let peer = tokio::spawn(async move {
            let mut numbers = Vec::new();
            let mut batch = Vec::new();
            while asked.recv_many(&mut batch, 1_000).await > 0 {
                assert!(batch.len() <= 10, "{} are under way", batch.len());
                for number in batch.drain(..) {
                    numbers.push(number);
                    let _ = end.send(Ok(number)).await;
                }
            }
            numbers
        });
        let wanted = Wanted { flows: 100, in_flight: 10, rate_latency: 10, latency_seconds: 4 };
        let figures = measure(Peer { asks, endings }, &wanted, &[]).await.unwrap();
        assert_eq!(peer.await.unwrap(), (0..140).collect::<Vec<_>>());
        assert!(figures.flows >= 30 && figures.flows <= 60, "{}", figures.flows);
        assert!(!figures.times.is_empty() && figures.times.len() < 40);
    }
}
