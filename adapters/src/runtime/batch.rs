//! Groups requests that wait at the same time into one statement: while one batch is being committed, the next gathers.
//! It adds no delay of its own and does not retry.

use std::future::Future;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait; whoever comes after waits for room.
const WAITING_MAX: usize = 10_000;

/// A queue whose requests are answered in groups.
pub(crate) struct Batcher<Q, A> {
    queue: mpsc::Sender<(Q, oneshot::Sender<A>)>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts a worker that takes up to `size_max` requests at a time. Answers are in the order of the requests; one
    /// that is missing leaves its request unanswered. The worker ends when the last `Batcher` is dropped.
    pub(crate) fn start<W, F>(size_max: usize, work: W) -> Self
    where
        W: Fn(Vec<Q>) -> F + Send + 'static,
        F: Future<Output = Vec<A>> + Send,
    {
        let (queue, mut waiting) = mpsc::channel::<(Q, oneshot::Sender<A>)>(WAITING_MAX);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(size_max);
            while waiting.recv_many(&mut batch, size_max).await > 0 {
                let (requests, askers): (Vec<Q>, Vec<_>) = batch.drain(..).unzip();
                for (asker, answer) in askers.into_iter().zip(work(requests).await) {
                    // Whoever does not wait any more has been stopped.
                    drop(asker.send(answer));
                }
            }
        });
        Self { queue }
    }

    /// Asks and waits; none where the worker has ended or could not answer.
    pub(crate) async fn ask(&self, request: Q) -> Option<A> {
        let (asker, answer) = oneshot::channel();
        self.queue.send((request, asker)).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn what_waits_together_is_done_together_and_answered_apart() {
        let batches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&batches);
        let batcher = Batcher::start(100, move |numbers: Vec<u32>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { numbers.into_iter().map(|number| number * 2).collect() }
        });
        let asked = (0..50).map(|number| batcher.ask(number));
        let answers = futures_util::future::join_all(asked).await;
        assert_eq!(answers, (0..50).map(|number| Some(number * 2)).collect::<Vec<_>>());
        assert!(batches.load(Ordering::SeqCst) <= 2);
    }
}
