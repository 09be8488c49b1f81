//! A flow that stands still and goes on again and again within one tick, as after a time in which nobody read what operators
//! did. What stands still for longer, other simulations show.

use serde_json::json;
use std::collections::BTreeSet;

use super::forwards::Home;
use super::operators::{ACT, ACTS, act_of};
use super::world::in_simulated_time;

/// Each input waits once, is applied once, and leaves nothing behind.
pub(crate) fn twice_in_one_tick() {
    in_simulated_time(async {
        let mut home = Home::new();
        let ids = home.ids();
        let id = ids[0].as_str();
        home.work().await;
        home.forward(id, 1, 0);
        home.work().await;

        let mut seq = 1;
        for actor in ["ann", "bob"] {
            let act = |word| ((ACTS, ACT), act_of("payout", id, word, actor));
            let decided = json!({
                "aggregate_id": id, "tenant": "default", "journey": "payout", "step": "review_fraud",
                "decision": "approve", "actor": actor, "reason": "looked at it", "decided_at": 0});
            let decision =
                (("signalbox.review.decisions.v1", "signalbox.review.ReviewDecision"), decided);
            for (named, value) in [act("pause"), decision, act("resume")] {
                home.forward_record(named, &value, id, (seq + 1, seq));
                seq += 1;
            }
        }
        home.work().await;

        assert_eq!(home.stopped(), []);
        assert_eq!(home.store.all_parked(), []);
        let told = home.store.journal(home.lane);
        let count = |kind: &str| told.iter().filter(|row| row.kind == kind).count();
        assert_eq!((count("hold"), count("act")), (2, 4), "{told:#?}");
        let times: BTreeSet<_> =
            told.iter().filter(|row| row.kind != "start").map(|row| row.at).collect();
        assert_eq!(times.len(), 1, "they came in more than one tick: {told:#?}");
        assert_eq!(count("reject"), 2, "a decision that nobody waits for is refused once");
        assert_eq!(home.store.flows().first().and_then(|flow| flow.standing), None);
    });
}
