//! The people of the personas: they decide open tasks, and customers change their minds, as soon as what they wait for
//! was published. Where both happen to one case the customer comes first. They look at nothing but topics, and at
//! the journal to know that a cancellation was heard.

use std::collections::HashSet;
use std::time::Duration;

use signalbox::cast::{Asks, Moment, Persona};
use signalbox::scene::Decision;
use signalbox_store::Reader;
use tokio::time::{Instant, sleep};

use crate::failure::Failure;
use crate::installation::Installation;
use crate::witness::Course;

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
                let what = format!("an ending of {} cases", open.len());
                return Err(Failure::Late {
                    what,
                    seconds: patience.as_secs(),
                    seen: open.join("\n"),
                });
            }
            sleep(LOOK).await;
        }
    }

    /// What one case calls for. Its course in words where it has not ended.
    async fn act_once(
        &mut self,
        on: &Installation,
        place: usize,
    ) -> Result<Option<String>, Failure> {
        let Some(role) = self.roles.get_mut(place) else { return Ok(None) };
        let course = on.witness.course(&role.case);
        if !course.endings.is_empty() {
            return Ok(None);
        }
        let due = role.persona.says.as_ref().filter(|(_, when)| has_come(when, &course));
        if let Some((word, _)) = due.filter(|_| !role.said) {
            role.said = true;
            on.commands.say(&role.case, *word).await?;
        }
        let told = format!("{} ({}): {course:?}", role.case, role.persona.name);
        if role.persona.says.is_some() && !(role.said && was_heard(&on.reader, &role.case).await?) {
            return Ok(Some(told));
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
                on.commands.decide(&decision(&role, step, &ruling.decide, person)).await?;
            }
        }
        Ok(Some(told))
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
