//! Identifiers against oracles of other authors: `oracle/generate.py` asked them, `oracle/identifiers.csv` keeps what they
//! said, so that the test needs nothing but the file.
#![allow(clippy::unwrap_used, clippy::panic)]

use signalbox_schemas::{is_aba, is_bic, is_iban};

#[test]
fn identifiers_are_judged_as_independent_libraries_judge_them() {
    let mut judged = 0;
    let mut wrong = Vec::new();
    for line in include_str!("oracle/identifiers.csv").lines().skip(1) {
        let mut fields = line.split(',');
        let (kind, text) = (fields.next().unwrap(), fields.next().unwrap());
        let valid = fields.next().unwrap() == "true";
        let ours = match kind {
            "iban" => is_iban(text),
            "aba" => is_aba(text),
            "bic" => is_bic(text),
            other => panic!("{other} is no kind of identifier"),
        };
        judged += 1;
        if ours != valid {
            wrong.push(format!("{kind} {text}: ours {ours}, theirs {valid}"));
        }
    }
    assert!(judged > 1_000, "only {judged} identifiers were judged");
    assert!(wrong.is_empty(), "{} of {judged} differ:\n{}", wrong.len(), wrong.join("\n"));
}
