//! A steady stream of payouts, published in the background at its own pace, whatever happens to the installation meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signalbox::payouts::Payout;
use signalbox::scene::Commands;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::Failure;
use crate::installation::Installation;

/// Payouts on their way to Kafka.
pub struct Stream {
    payouts: Arc<Vec<Payout>>,
    published: Arc<AtomicUsize>,
    cut: Arc<AtomicBool>,
    publishing: JoinHandle<Result<Vec<Instant>, Failure>>,
}

impl Stream {
    /// Begins to publish these payouts, so many in a second.
    #[must_use]
    pub fn start(commands: Commands, payouts: Vec<Payout>, rate: u32) -> Self {
        let payouts = Arc::new(payouts);
        let (published, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let publishing =
            publish(commands, Arc::clone(&payouts), Arc::clone(&published), Arc::clone(&cut), rate);
        Self { payouts, published, cut, publishing: tokio::spawn(publishing) }
    }

    /// How many Kafka has taken.
    #[must_use]
    pub fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }

    /// How many of those have not ended.
    #[must_use]
    pub fn under_way(&self, on: &Installation) -> usize {
        let published = self.published();
        let ids = self.payouts.iter().take(published).map(|payout| payout.id.as_str());
        published - on.witness.ask(|seen| seen.ended(ids))
    }

    /// Publishes no more than what is published.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Waits for the end: what was published, and when.
    ///
    /// # Errors
    /// `Scene` where Kafka does not take one, `Broken` where publishing ended badly.
    pub async fn end(self) -> Result<Vec<(Payout, Instant)>, Failure> {
        let ended = self.publishing.await;
        let times = ended
            .map_err(|error| Failure::Broken(format!("publishing ended badly: {error}")))??;
        Ok(self.payouts.iter().cloned().zip(times).collect())
    }
}

async fn publish(
    commands: Commands,
    payouts: Arc<Vec<Payout>>,
    published: Arc<AtomicUsize>,
    cut: Arc<AtomicBool>,
    rate: u32,
) -> Result<Vec<Instant>, Failure> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    let mut times = Vec::with_capacity(payouts.len());
    for payout in payouts.iter() {
        pace.tick().await;
        if cut.load(Ordering::SeqCst) {
            break;
        }
        times.push(Instant::now());
        commands.request(&payout.id, &payout.command).await?;
        published.fetch_add(1, Ordering::SeqCst);
    }
    Ok(times)
}
