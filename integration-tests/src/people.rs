//! The people of the personas: they decide open tasks, and customers change their minds, as soon as what they wait for
//! was published. Where both happen to one case the customer comes first. They look at nothing but topics, and at
//! the journal to know that a cancellation was heard.

use std::collections::HashSet;
use std::time::Duration;

use signalbox::cast::{Asks, Moment, Persona};
use signalbox::scene::{Commands, Decision};
use signalbox_store::Reader;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::witness::{Course, Witness};

/// What every topic of a journey's own commands ends with.
const COMMANDS_SUFFIX: &str = ".commands.v1";
/// How often people look at what is new.
const LOOK: Duration = Duration::from_millis(50);

/// One case with the persona that it plays.
#[derive(Debug, Clone)]
struct Role {
    case: String,
    persona: Persona,
    said: bool,
}

/// Everybody who acts in a test.
#[derive(Debug, Clone, Default)]
pub struct People {
    roles: Vec<Role>,
    /// Case, state, and which opening of the task was decided.
    decided: HashSet<(String, String, usize)>,
}

impl People {
    /// Somebody acts for this case.
    pub fn play(&mut self, case: &str, persona: &Persona) {
        let role = Role { case: case.to_owned(), persona: persona.clone(), said: false };
        self.roles.push(role);
    }

    /// Acts until every case has ended.
    ///
    /// # Errors
    /// `Late` where one does not within `patience`; see [`Failure`] for the rest.
    pub async fn act(&mut self, on: &Installation, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            self.act_now(&on.witness, &on.commands, &on.reader).await?;
            if self.roles.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let open = self.roles.iter().map(|role| {
                    let course = on.witness.course(&role.case);
                    format!("{} ({}): {course:?}", role.case, role.persona.name)
                });
                return Err(Failure::Late {
                    what: format!("an ending of {} cases", self.roles.len()),
                    seconds: patience.as_secs(),
                    seen: open.collect::<Vec<_>>().join("\n"),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// Does what cases call for now. Cases that have ended are forgotten.
    ///
    /// # Errors
    /// `Scene` where Kafka does not take what is said, `Store` where Postgres does not answer.
    pub async fn act_now(
        &mut self,
        witness: &Witness,
        commands: &Commands,
        reader: &Reader,
    ) -> Result<(), Failure> {
        let mut place = 0;
        while let Some(role) = self.roles.get(place) {
            let course = witness.course(&role.case);
            if course.endings.is_empty() {
                self.act_once(place, &course, commands, reader).await?;
                place += 1;
            } else {
                self.roles.swap_remove(place);
            }
        }
        Ok(())
    }

    /// What one case calls for.
    async fn act_once(
        &mut self,
        place: usize,
        course: &Course,
        commands: &Commands,
        reader: &Reader,
    ) -> Result<(), Failure> {
        let Some(role) = self.roles.get_mut(place) else { return Ok(()) };
        let due = role.persona.says.as_ref().filter(|(_, when)| has_come(when, course));
        if let Some((word, _)) = due.filter(|_| !role.said) {
            role.said = true;
            commands.say(&role.case, *word).await?;
        }
        if role.persona.says.is_some() && !(role.said && was_heard(reader, &role.case).await?) {
            return Ok(());
        }
        let role = role.clone();
        for (step, ruling) in &role.persona.decisions {
            let openings = course.tasks.iter().filter(|task| task.step == *step);
            let openings = openings
                .filter(|task| matches!(task.status.as_str(), "opened" | "escalated"))
                .count();
            let opening = (role.case.clone(), step.clone(), openings);
            if openings == 0 || !self.decided.insert(opening) {
                continue;
            }
            for person in 1..=ruling.people {
                commands.decide(&decision(&role, step, &ruling.decide, person)).await?;
            }
        }
        Ok(())
    }
}

fn decision(role: &Role, step: &str, decide: &str, person: usize) -> Decision {
    let journey = match role.persona.asks {
        Asks::Payout(_) => "payout",
        Asks::Onboarding(_) => "onboarding",
    };
    Decision {
        case: role.case.clone(),
        step: step.to_owned(),
        journey: journey.to_owned(),
        decision: decide.to_owned(),
        actor: format!("analyst-{person}"),
    }
}

fn has_come(moment: &Moment, course: &Course) -> bool {
    match moment {
        Moment::AtOnce => true,
        Moment::Event(status) => course.statuses.contains(status),
        Moment::Task(step) => course.has_task(step, "opened") || course.has_task(step, "escalated"),
    }
}

/// Whether a second command about this case was applied.
async fn was_heard(reader: &Reader, case: &str) -> Result<bool, Failure> {
    let mut heard = 0;
    for flow in reader.find_flows(case).await? {
        let rows = reader.journal_of(flow.row.id).await?;
        let commands = rows.iter().filter_map(|row| row.input_topic.as_ref());
        heard += commands.filter(|topic| topic.as_str().ends_with(COMMANDS_SUFFIX)).count();
    }
    Ok(heard > 1)
}
