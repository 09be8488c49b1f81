//! The order of faults, by seed: first those that make a run telling, then all others, then all of them again and again;
//! and now and then a link that is bad meanwhile.

use fastrand::Rng;
use std::time::Duration;

use super::fault::Fault;
use super::link::{Way, Weather};
use super::site::{ENGINES, SERVICES, Server, Site};
use crate::failure::Failure;

/// Of so many faults one has a companion.
const ALONE: u32 = 4;

/// Faults to come.
pub(crate) struct Deck {
    telling: Vec<Fault>,
    others: Vec<Fault>,
    to_come: Vec<Fault>,
    rounds: usize,
    random: Rng,
}

impl Deck {
    /// A deck of telling faults and others.
    pub(crate) fn new(telling: Vec<Fault>, others: Vec<Fault>, seed: u64) -> Self {
        // Other choices of a run are drawn apart, so that they do not change the order.
        let random = Rng::with_seed(seed ^ 0x5eed);
        Self { telling, others, to_come: Vec::new(), rounds: 0, random }
    }

    /// The next fault.
    pub(crate) fn next(&mut self) -> Fault {
        if self.to_come.is_empty() {
            let mut first = if self.rounds == 0 { self.telling.clone() } else { Vec::new() };
            let mut then = self.others.clone();
            if self.rounds > 0 {
                then.extend(&self.telling);
            }
            self.random.shuffle(&mut first);
            self.random.shuffle(&mut then);
            // They are taken from the end.
            self.to_come = then;
            self.to_come.extend(first);
            self.rounds += 1;
        }
        self.to_come.pop().unwrap_or(Fault::KillEngine)
    }

    /// A link that is bad at the same time. Faults that wait for one engine's words stay alone.
    pub(crate) fn companion(&mut self, fault: Fault) -> Option<Spoil> {
        let alone = matches!(
            fault,
            Fault::LoseCommitAnswer
                | Fault::SwallowCommit
                | Fault::Zombie
                | Fault::LosePaymentAnswers
                | Fault::Cut
                | Fault::Slow
                | Fault::HalfOpen
                | Fault::Forgotten
        );
        if alone || self.random.u32(0..ALONE) > 0 {
            return None;
        }
        let service = self.random.choice(SERVICES).unwrap_or("engine-1");
        let server = if ENGINES.iter().any(|engine| engine.0 == service) {
            self.random.choice([Server::Kafka, Server::Postgres])
        } else {
            self.random.choice([Server::Kafka, Server::Postgres, Server::Vendors])
        };
        let delay = Duration::from_millis(self.random.u64(5..60));
        Some(Spoil { service, server: server.unwrap_or(Server::Postgres), delay })
    }
}

/// A link that is slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoil {
    service: &'static str,
    server: Server,
    delay: Duration,
}

impl Spoil {
    /// From now on.
    ///
    /// # Errors
    /// `Broken` where there is no such link.
    pub(crate) fn begin(self, site: &Site) -> Result<Self, Failure> {
        let slow = Weather::both(Way::Slow(self.delay));
        site.link(self.service, self.server)?.set(slow);
        Ok(self)
    }

    /// No more.
    ///
    /// # Errors
    /// As `begin`.
    pub(crate) fn end(self, site: &Site) -> Result<(), Failure> {
        site.link(self.service, self.server)?.set(Weather::FINE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Deck, Fault};

    #[test]
    fn telling_faults_come_first_and_every_fault_comes_before_one_comes_again() {
        let deck = || Deck::new(Fault::TELLING.to_vec(), Fault::OTHERS.to_vec(), 7);
        let (mut again, mut deck) = (deck(), deck());
        let mut first: Vec<Fault> = (0..Fault::TELLING.len()).map(|_| deck.next()).collect();
        let others: Vec<Fault> = (0..Fault::OTHERS.len()).map(|_| deck.next()).collect();
        assert!(Fault::TELLING.iter().all(|fault| first.contains(fault)));
        assert!(Fault::OTHERS.iter().all(|fault| others.contains(fault)));
        first.extend(others);
        assert!(first.iter().all(|fault| *fault == again.next()), "the seed does not decide");
    }
}
