//! The second journey on real parts: everybody who wants to become a customer, each with their own ending.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::{Failure, Installation, People, Persona, cast};

use crate::Outcome;

/// The slowest waits through twenty retries, or for a consent that never comes.
const PATIENCE: Duration = Duration::from_secs(120);

/// One application of each persona, with people who decide and customers who consent, come back or withdraw.
pub(crate) async fn every_newcomer(on: &mut Installation) -> Outcome {
    let cast = cast()?;
    let mut people = People::default();
    let mut asked: Vec<(String, &Persona)> = Vec::new();
    for (persona, like) in cast.iter().filter_map(|one| Some((one, one.newcomer()?))) {
        let application = on.apply(like).await?;
        people.play(&application.id, persona);
        asked.push((application.id, persona));
    }
    people.act(on, PATIENCE).await?;
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    let mut broken = on.witness.ask(|seen| seen.breaks.clone());
    for (id, persona) in &asked {
        let course = on.witness.course(id);
        match course.endings.as_slice() {
            [one] if persona.ends.contains(&one.status) => {
                *endings.entry(one.status.clone()).or_default() += 1;
            }
            other => broken.push(format!("{} ({id}) ended {other:?}: {course:?}", persona.name)),
        }
    }
    if !broken.is_empty() {
        return Err(Failure::Broken(broken.join("\n")));
    }
    on.succeed(&["audit", "verify"]).await?;
    let told: Vec<String> = endings.iter().map(|(end, count)| format!("{count} {end}")).collect();
    Ok(format!(
        "{} newcomers, each with one ending ({}), audit intact",
        asked.len(),
        told.join(", ")
    ))
}
