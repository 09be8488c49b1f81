//! What a tamperer could do to an export, each time located: no database and no Kafka takes part.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use super::super::{GENESIS, seal};
use super::*;
use crate::journal::anchor::AnchorKey;
use signalbox_schemas::FlowId;

const LANE: LaneId = LaneId(1);
const HERS: FlowId = FlowId(uuid::Uuid::from_u128(1));
const HIS: FlowId = FlowId(uuid::Uuid::from_u128(2));

fn row(seq: i64, flow: FlowId) -> JournalRow {
    JournalRow {
        lane: LANE,
        seq,
        at: Micros(1_000 + seq),
        flow: Some(flow),
        flow_rev: seq,
        kind: "step".into(),
        input_topic: Some("t".into()),
        input_partition: Some(1),
        input_offset: Some(seq),
        actor: "adapter".into(),
        reason: "answered".into(),
        journey: None,
        version: None,
        before: None,
        after: None,
        out_last: seq,
        records: vec![1, 2, 3],
        prev_hash: Vec::new(),
        hash: Vec::new(),
    }
}

/// Ten rows of two customers in turn.
fn chain() -> Vec<JournalRow> {
    relinked((1..=10).map(|seq| row(seq, if seq % 2 == 0 { HIS } else { HERS })).collect())
}

/// What somebody with every right on the database can do: hashes that fit whatever the rows say.
fn relinked(rows: Vec<JournalRow>) -> Vec<JournalRow> {
    let mut linked: Vec<JournalRow> = Vec::new();
    for row in rows {
        let before = linked.last().map_or(GENESIS.to_vec(), |last| last.hash.clone());
        linked.push(seal(row, &before));
    }
    linked
}

fn key() -> AnchorKey {
    AnchorKey::parse(&AnchorKey::generate().unwrap()).unwrap()
}

fn anchors(key: &AnchorKey, rows: &[JournalRow], at: &[i64]) -> Vec<Anchor> {
    rows.iter()
        .filter(|row| at.contains(&row.seq))
        .map(|row| key.sign(LANE, 1, row.seq, &row.hash, row.at))
        .collect()
}

/// An export of the rows of one customer, or of all.
fn export(rows: &[JournalRow], anchors: &[Anchor], only: Option<FlowId>) -> Vec<String> {
    let header = ExportHeader::new("test".into(), Micros(0));
    let stretch = Stretch { lane: LANE, after_seq: 0, after_hash: GENESIS.to_vec(), last_seq: 10 };
    let shown = |row: &JournalRow| match only {
        Some(flow) if row.flow != Some(flow) => {
            ExportLine::LeftOut(left_out(std::slice::from_ref(row)).unwrap())
        }
        _ => ExportLine::Row(Box::new(row.clone())),
    };
    let mut lines = vec![ExportLine::Header(header)];
    lines.extend(anchors.iter().cloned().map(ExportLine::Anchor));
    lines.push(ExportLine::Stretch(stretch));
    lines.extend(rows.iter().map(shown));
    lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect()
}

fn check(lines: &[String], key: &AnchorKey) -> ExportReport {
    let mut check = ExportCheck::new(vec![key.public()]);
    lines.iter().for_each(|line| check.line(line));
    check.finish()
}

#[test]
fn an_untouched_export_is_proven_up_to_its_last_anchor() {
    let (key, rows) = (key(), chain());
    let report = check(&export(&rows, &anchors(&key, &rows, &[4, 9]), None), &key);
    assert_eq!(report.findings, []);
    let lane = &report.lanes[0];
    assert_eq!((lane.rows, lane.anchored_to, lane.unproven), (10, Some(9), 1));
}

#[test]
fn one_customer_s_rows_are_proven_without_showing_the_other_s() {
    let (key, rows) = (key(), chain());
    let lines = export(&rows, &anchors(&key, &rows, &[10]), Some(HERS));
    assert!(!lines.iter().any(|line| line.contains(&HIS.to_string())));
    let report = check(&lines, &key);
    assert_eq!(report.findings, []);
    let lane = &report.lanes[0];
    assert_eq!((lane.rows, lane.left_out, lane.unproven), (5, 5, 0));
}

#[test]
fn a_flipped_byte_is_located() {
    let (key, mut rows) = (key(), chain());
    let signed = anchors(&key, &rows, &[10]);
    rows[4].records[0] ^= 1;
    for only in [None, Some(HERS)] {
        let report = check(&export(&rows, &signed, only), &key);
        assert_eq!(report.findings, [ChainBreak::Altered { lane: LANE, seq: 5 }.into()]);
    }
}

#[test]
fn a_flipped_byte_of_a_digest_breaks_the_link_behind_it() {
    let (key, rows) = (key(), chain());
    let mut lines = export(&rows, &anchors(&key, &rows, &[10]), Some(HERS));
    let place = lines.iter().position(|line| line.contains("\"from_seq\":4")).unwrap();
    let mut digest = left_out(&rows[3..4]).unwrap();
    digest.digests[0].0[7] ^= 1;
    lines[place] = serde_json::to_string(&ExportLine::LeftOut(digest)).unwrap();
    let report = check(&lines, &key);
    assert_eq!(report.findings, [ChainBreak::Unlinked { lane: LANE, seq: 5 }.into()]);
}

#[test]
fn removed_and_reordered_rows_are_located() {
    let (key, rows) = (key(), chain());
    let signed = anchors(&key, &rows, &[10]);
    let mut removed = rows.clone();
    removed.remove(5);
    let mut swapped = rows.clone();
    swapped.swap(2, 3);
    let mut cut = rows;
    cut.truncate(8);
    let cases = [
        (removed, ChainBreak::Unlinked { lane: LANE, seq: 7 }.into()),
        (swapped, ChainBreak::Unlinked { lane: LANE, seq: 4 }.into()),
        (cut, Finding::Cut { lane: LANE, seq: 8, last_seq: 10 }),
    ];
    for (tampered, expected) in cases {
        assert_eq!(
            check(&export(&tampered, &signed, None), &key).findings,
            std::slice::from_ref(&expected)
        );
        assert_eq!(
            check(&export(&tampered, &signed, Some(HERS)), &key).findings,
            [expected],
            "the same with rows left out"
        );
    }
}

#[test]
fn a_chain_that_was_rewritten_and_linked_anew_contradicts_the_next_anchor() {
    let (key, mut rows) = (key(), chain());
    let signed = anchors(&key, &rows, &[4, 8]);
    rows[5].reason = "approved".into();
    let report = check(&export(&relinked(rows), &signed, None), &key);
    assert_eq!(report.findings, [Finding::Rewritten { lane: LANE, after: 4, seq: 8 }]);
    assert_eq!(report.lanes[0].anchored_to, Some(4));
}

#[test]
fn a_forged_anchor_is_located_and_proves_nothing() {
    let (key, rows) = (key(), chain());
    let mut signed = anchors(&key, &rows, &[4]);
    signed.extend(anchors(&self::key(), &rows, &[8]));
    let report = check(&export(&rows, &signed, None), &key);
    assert_eq!(report.findings, [Finding::Forged { lane: LANE, seq: 8 }]);
    assert_eq!(report.lanes[0].anchored_to, Some(4));
}

#[test]
fn anchors_that_were_kept_elsewhere_count_like_those_of_the_export() {
    let (key, rows) = (key(), chain());
    let mut check = ExportCheck::new(vec![key.public()]);
    anchors(&key, &rows, &[10]).into_iter().for_each(|anchor| check.anchor(anchor));
    let mut rewritten = rows;
    rewritten[0].actor = "nobody".into();
    let rewritten = relinked(rewritten);
    // The tamperer holds the key's twin of nothing: only the anchor kept elsewhere gives the rewriting away.
    export(&rewritten, &[], None).iter().for_each(|line| check.line(line));
    let found = check.finish().findings;
    assert_eq!(found, [Finding::Rewritten { lane: LANE, after: 0, seq: 10 }]);
}

#[test]
fn a_row_anchored_twice_with_different_hashes_is_told() {
    let (key, rows) = (key(), chain());
    let mut signed = anchors(&key, &rows, &[6]);
    signed.push(key.sign(LANE, 2, 6, &[0; 32], Micros(1)));
    let report = check(&export(&rows, &signed, None), &key);
    assert_eq!(report.findings, [Finding::TwoAnchors { lane: LANE, seq: 6 }]);
}

#[test]
fn without_a_key_the_chain_is_checked_and_nothing_is_proven() {
    let (key, rows) = (key(), chain());
    let mut check = ExportCheck::new(Vec::new());
    export(&rows, &anchors(&key, &rows, &[10]), None).iter().for_each(|line| check.line(line));
    let report = check.finish();
    assert_eq!((report.findings.len(), report.lanes[0].unproven), (0, 10));
}

#[test]
fn what_is_no_export_is_refused_with_its_line() {
    for (text, reason) in
        [("", "no line of an export"), ("{\"line\":\"row\"}", "line of an export")]
    {
        let mut check = ExportCheck::new(Vec::new());
        check.line(text);
        let found = check.finish().findings[0].to_string();
        assert!(found.starts_with("line 1: ") && found.contains(reason), "{found}");
    }
    assert_eq!(
        ExportCheck::new(Vec::new()).finish().findings.len(),
        1,
        "an empty file is no export"
    );
}

#[test]
fn an_anchor_kept_elsewhere_tells_that_the_lane_went_on_behind_a_cut() {
    let (key, rows) = (key(), chain());
    let later = key.sign(LANE, 1, 12, &[7; 32], Micros(2_000));
    for (kept, went_on_to) in [(None, None), (Some(later), Some(12))] {
        let mut check = ExportCheck::new(vec![key.public()]);
        kept.into_iter().for_each(|anchor| check.anchor(anchor));
        export(&rows, &anchors(&key, &rows, &[10]), None).iter().for_each(|line| check.line(line));
        let report = check.finish();
        assert_eq!(report.findings, []);
        assert_eq!(report.lanes[0].went_on_to, went_on_to);
    }
}

#[test]
fn what_nothing_proves_is_not_read_over() {
    let (key, rows) = (key(), chain());
    let mut lines = export(&rows, &anchors(&key, &rows, &[10]), None);
    let place = lines.iter().position(|line| line.contains("\"line\":\"row\"")).unwrap();
    lines[place] = lines[place].replacen('{', "{\"decided_by\":\"somebody else\",", 1);
    let found = check(&lines, &key).findings[0].to_string();
    assert!(found.starts_with("line 4: ") && found.contains("decided_by"), "{found}");
}

#[test]
fn an_export_that_shows_no_row_is_not_as_it_was_written() {
    let (key, rows) = (key(), chain());
    let lines = export(&rows, &anchors(&key, &rows, &[10]), Some(FlowId(uuid::Uuid::nil())));
    assert_eq!(check(&lines[..1], &key).findings, [Finding::Nothing]);
    assert_eq!(check(&lines, &key).findings, [Finding::Nothing]);
}
