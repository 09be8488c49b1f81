//! Every surface under examples of the project with edits that chance chooses. Each is given a moment.

use signalbox_fuzz::{Edit, edited, files};
use std::sync::LazyLock;
use std::time::Duration;

/// How long chance may try each surface in a run of the tests.
const MOMENT: Duration = Duration::from_secs(2);

/// Tests of one name each: the surface, and examples of what it reads.
macro_rules! surfaces {
    ($($surface:ident: $examples:expr;)*) => {$(
        #[test]
        fn $surface() {
            static EXAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| $examples);
            for example in EXAMPLES.iter() {
                signalbox_fuzz::$surface(example);
            }
            bolero::check!()
                .with_type::<(u8, Vec<Edit>)>()
                .with_test_time(MOMENT)
                .for_each(|(which, edits)| signalbox_fuzz::$surface(&edited(&EXAMPLES, *which, edits)));
        }
    )*};
}

surfaces! {
    journey: files("journeys", "t.yaml");
    rules_of_the_bank: files("journeys", "invariants.yaml");
    migration_plan: vec![b"journey: payout\nfrom: 2\nto: 3\nstates: {review_fraud: judge_fraud}\n".to_vec()];
    scenario: files("journeys/scenarios", ".yaml");
    policy: files("deploy/policies", ".yaml");
    topics: vec![include_bytes!("../../../topics.yaml").to_vec()];
    lift: files("schemas/lifts", ".yaml");
    consumers: vec![include_bytes!("../../../schemas/consumers.yaml").to_vec()];
    partner: files("adapters/src/vendors", "partner.yaml");
    envelope: signalbox_fuzz::envelopes();
    avro_body: signalbox_fuzz::bodies();
    json_line: files("engine/signalbox/src/examples", ".json");
    headers: vec![b"sb-lane=3\nsb-lane-seq=41\ntraceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec()];
    journal_records: signalbox_fuzz::rows();
}
