//! The people of the personas: they decide open tasks, and customers change their minds, as soon as what they wait for
//! was published. Where both happen to one payout the customer comes first. They look at nothing but topics, and at
//! the journal to know that a cancellation was heard.

use std::collections::HashSet;
use std::time::Duration;

use signalbox::scene::{COMMANDS, Decision};
use signalbox_store::Reader;
use tokio::time::{Instant, sleep};

use crate::cast::{Cancel, Persona};
use crate::failure::Failure;
use crate::installation::Installation;
use crate::witness::Course;

/// How often people look at what is new.
const LOOK: Duration = Duration::from_millis(50);

/// One payout with the persona that it plays.
#[derive(Debug, Clone)]
struct Role {
    payout: String,
    persona: Persona,
    cancelled: bool,
}

/// Everybody who acts in a test.
#[derive(Debug, Clone, Default)]
pub struct People {
    roles: Vec<Role>,
    /// Payout, state, and which opening of the task was decided.
    decided: HashSet<(String, String, usize)>,
}

impl People {
    /// Somebody acts for this payout.
    pub fn play(&mut self, payout: &str, persona: &Persona) {
        let role = Role { payout: payout.to_owned(), persona: persona.clone(), cancelled: false };
        self.roles.push(role);
    }

    /// Acts until every payout has ended.
    ///
    /// # Errors
    /// `Late` where one does not within `patience`; see [`Failure`] for the rest.
    pub async fn act(&mut self, on: &Installation, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let mut open = Vec::new();
            for place in 0..self.roles.len() {
                if let Some(course) = self.act_once(on, place).await? {
                    open.push(course);
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("an ending of {} payouts", open.len());
                return Err(Failure::Late {
                    what,
                    seconds: patience.as_secs(),
                    seen: open.join("\n"),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// What one payout calls for. Its course in words where it has not ended.
    async fn act_once(
        &mut self,
        on: &Installation,
        place: usize,
    ) -> Result<Option<String>, Failure> {
        let Some(role) = self.roles.get_mut(place) else { return Ok(None) };
        let course = on.witness.course(&role.payout);
        if !course.endings.is_empty() {
            return Ok(None);
        }
        if role
            .persona
            .cancel
            .as_ref()
            .is_some_and(|moment| !role.cancelled && has_come(moment, &course))
        {
            role.cancelled = true;
            on.commands.cancel(&role.payout).await?;
        }
        let told = format!("{} ({}): {course:?}", role.payout, role.persona.name);
        if role.persona.cancel.is_some()
            && !(role.cancelled && was_heard(&on.reader, &role.payout).await?)
        {
            return Ok(Some(told));
        }
        let role = role.clone();
        for (step, ruling) in &role.persona.decisions {
            let openings = course.tasks.iter().filter(|task| task.step == *step);
            let openings = openings
                .filter(|task| matches!(task.status.as_str(), "opened" | "escalated"))
                .count();
            let opening = (role.payout.clone(), step.clone(), openings);
            if openings == 0 || !self.decided.insert(opening) {
                continue;
            }
            for person in 1..=ruling.people {
                on.commands.decide(&decision(&role.payout, step, &ruling.decide, person)).await?;
            }
        }
        Ok(Some(told))
    }
}

fn decision(payout: &str, step: &str, decide: &str, person: usize) -> Decision {
    Decision {
        payout: payout.to_owned(),
        step: step.to_owned(),
        journey: "payout".to_owned(),
        decision: decide.to_owned(),
        actor: format!("analyst-{person}"),
    }
}

fn has_come(moment: &Cancel, course: &Course) -> bool {
    match moment {
        Cancel::AtOnce => true,
        Cancel::Event(status) => course.statuses.contains(status),
        Cancel::Task(step) => course.has_task(step, "opened") || course.has_task(step, "escalated"),
    }
}

/// Whether a second command about this payout was applied.
async fn was_heard(reader: &Reader, payout: &str) -> Result<bool, Failure> {
    let mut heard = 0;
    for flow in reader.find_flows(payout).await? {
        let rows = reader.journal_of(flow.row.id).await?;
        heard += rows
            .iter()
            .filter(|row| row.input_topic.as_ref().is_some_and(|topic| topic.as_str() == COMMANDS))
            .count();
    }
    Ok(heard > 1)
}
