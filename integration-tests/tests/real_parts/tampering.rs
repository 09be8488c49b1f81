//! Somebody with every right on the database, or on an export, changes what was written.

use std::path::Path;

use integration_tests::{Failure, Installation};
use serde_json::Value;
use signalbox::payouts::Wish;
use signalbox_store::{AnchorKey, ExportLine};
use sqlx::{Connection, PgConnection, Row};

use super::crashes::all_completed;
use crate::{ENGINE, Outcome};

/// Payouts of the story of an export: enough for every lane to hold rows of several.
const PAYOUTS: usize = 40;

/// The row is named, and after the byte was put back the chain holds again.
pub(crate) async fn flipped_byte(on: &mut Installation) -> Outcome {
    on.stop_engine(ENGINE).await?;
    let intact = on.succeed(&["audit", "verify"]).await?;
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    // A row in the middle of the longest chain, with records in it.
    let row = sqlx::query(
        "SELECT lane, seq FROM journal WHERE length(records) > 40 AND lane =
           (SELECT lane FROM journal GROUP BY lane ORDER BY count(*) DESC, lane LIMIT 1)
         ORDER BY seq OFFSET 20 LIMIT 1",
    )
    .fetch_optional(&mut database)
    .await?;
    let row = row.ok_or_else(|| {
        Failure::Broken("the journal is too short to be tampered with".to_owned())
    })?;
    let (lane, seq): (i16, i64) = (row.try_get("lane")?, row.try_get("seq")?);

    flip(&mut database, lane, seq).await?;
    let said = on.run(&["audit", "verify"], &[]).await?;
    let told = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, Some(1), "audit verify must refuse:\n{told}");
    assert!(
        told.contains(&format!("lane {lane}: journal row {seq} was altered")),
        "the row is not named:\n{told}"
    );
    assert_eq!(
        said.out.matches("chain intact").count(),
        intact.matches("chain intact").count() - 1,
        "{told}"
    );

    flip(&mut database, lane, seq).await?;
    let again = on.succeed(&["audit", "verify"]).await?;
    assert_eq!(again, intact);
    let summary = intact.lines().last().unwrap_or_default().to_owned();
    Ok(format!("one byte of row {seq} in lane {lane} flipped: named; put back: {summary}"))
}

/// Changes one bit of what a row publishes. The journal forbids it even to a superuser who forgets the trigger.
async fn flip(database: &mut PgConnection, lane: i16, seq: i64) -> Result<(), Failure> {
    let update = "UPDATE journal SET records = set_byte(records, 0, get_byte(records, 0) # 1) WHERE lane = $1 AND seq = $2";
    let refused = sqlx::query(update).bind(lane).bind(seq).execute(&mut *database).await;
    let refused =
        refused.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    assert_eq!(refused.as_deref(), Some("42501"), "the journal let itself be changed");
    let mut tampering = database.begin().await?;
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tampering).await?;
    let changed =
        sqlx::query(update).bind(lane).bind(seq).execute(&mut *tampering).await?.rows_affected();
    assert_eq!(changed, 1);
    tampering.commit().await?;
    Ok(())
}

/// One payout's rows, exported: an auditor proves them without any server, and every change of the file is located.
pub(crate) async fn exported(on: &mut Installation) -> Outcome {
    let payouts = on.request(&Wish::default(), PAYOUTS).await?;
    all_completed(on, payouts).await?;
    on.stop_engine(ENGINE).await?;
    let mut database = PgConnection::connect(&on.settings().postgres).await?;
    // Its customer id, as the payouts of these stories have it.
    let row = sqlx::query(
        "SELECT aggregate, 'c-' || aggregate AS customer FROM flow WHERE journey = 'payout' ORDER BY started_at LIMIT 1",
    )
    .fetch_optional(&mut database)
    .await?;
    let row = row.ok_or_else(|| Failure::Broken("there is no payout to export".to_owned()))?;
    let (payout, customer): (String, String) =
        (row.try_get("aggregate")?, row.try_get("customer")?);

    let desk = Desk::new(on)?;
    let whole = desk.export(&[]).await?;
    let proof = desk.verify(&whole).await?;
    assert!(
        proof.ends_with("rows are as they were written, which signed anchors prove\n"),
        "{proof}"
    );
    let subject = desk.export(&["--subject", &customer]).await?;
    desk.verify(&subject).await?;
    let one = desk.export(&["--flow", &payout]).await?;
    let told = desk.verify(&one).await?;
    assert!(one.iter().any(|line| line.contains("\"line\":\"left_out\"")), "nothing was left out");

    let shown = |line: &&String| line.contains("\"line\":\"row\"");
    let rows: Vec<&String> = one.iter().filter(shown).collect();
    let (first, second) = (place(&one, rows.first())?, place(&one, rows.get(1))?);
    // Lanes may have been added since: where the row is, not where the payout lives now.
    let lane = i16::try_from(number(&one, second, "lane")?).unwrap_or(-1);
    let seq = number(&one, second, "seq")?;

    let mut flipped = one.clone();
    if let Some(line) = flipped.get_mut(second) {
        *line = line.replacen("\"actor\":\"", "\"actor\":\"x", 1);
    }
    let altered = format!("lane {lane}: journal row {seq} was altered");
    desk.refuse(&flipped, &altered).await?;
    let mut removed = one.clone();
    removed.remove(second);
    desk.refuse(&removed, "does not follow the row before it").await?;
    let mut swapped = one.clone();
    swapped.swap(first, second);
    desk.refuse(&swapped, &format!("lane {lane}: journal row {seq} does not follow")).await?;
    desk.refuse(&forge(&one)?, "is forged").await?;

    // The same change in the database comes out with the export.
    flip(&mut database, lane, seq).await?;
    let of_changed = desk.export(&["--flow", &payout]).await?;
    desk.refuse(&of_changed, &altered).await?;
    flip(&mut database, lane, seq).await?;
    desk.verify(&desk.export(&["--flow", &payout]).await?).await?;
    let told = told.lines().next().unwrap_or_default().to_owned();
    Ok(format!(
        "payout {payout} exported and proven without a server ({told}); a flipped byte, a removed row, swapped rows, a forged anchor and a change in the database are each located"
    ))
}

/// Where an auditor works: files and a public key, no server.
pub(crate) struct Desk<'a> {
    on: &'a Installation,
    directory: tempfile::TempDir,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(on: &'a Installation) -> Result<Self, Failure> {
        let failed = Failure::while_doing("making a directory".to_owned());
        let directory = tempfile::tempdir().map_err(failed)?;
        write(&directory.path().join("key.pub"), &on.anchor_key.text())?;
        Ok(Self { on, directory })
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Lines of an export.
    pub(crate) async fn export(&self, choice: &[&str]) -> Result<Vec<String>, Failure> {
        let file = self.path("export.jsonl");
        let arguments = [&["audit", "export", "--out", &file], choice].concat();
        self.on.succeed(&arguments).await?;
        let text = std::fs::read_to_string(&file);
        let text = text.map_err(Failure::while_doing("reading the export".to_owned()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    pub(crate) async fn verify(&self, lines: &[String]) -> Result<String, Failure> {
        let (code, told) = self.ask(lines).await?;
        assert_eq!(code, Some(0), "an export that nobody touched is refused:\n{told}");
        Ok(told)
    }

    async fn refuse(&self, lines: &[String], word: &str) -> Result<(), Failure> {
        let (code, told) = self.ask(lines).await?;
        assert!(code == Some(1) && told.contains(word), "{word:?} is not told:\n{told}");
        Ok(())
    }

    async fn ask(&self, lines: &[String]) -> Result<(Option<i32>, String), Failure> {
        let (file, key) = (self.path("shown.jsonl"), self.path("key.pub"));
        write(Path::new(&file), &(lines.join("\n") + "\n"))?;
        // Nobody listens there: an auditor's machine knows no server.
        let nowhere =
            ("SIGNALBOX__POSTGRES__URL".to_owned(), "postgres://127.0.0.1:1/no".to_owned());
        let arguments = ["audit", "verify", "--export", &file, "--public-key", &key];
        let said = self.on.run(&arguments, &[nowhere]).await?;
        Ok((said.code, format!("{}{}", said.out, said.err)))
    }
}

/// The same export, its last anchor signed by somebody else.
fn forge(lines: &[String]) -> Result<Vec<String>, Failure> {
    let broken = |what: String| Failure::Broken(what);
    let secret = AnchorKey::generate().map_err(|error| broken(error.to_string()))?;
    let key = AnchorKey::parse(&secret).map_err(|error| broken(error.to_string()))?;
    let mut forged = lines.to_vec();
    for line in forged.iter_mut().rev() {
        if let Ok(ExportLine::Anchor(old)) = serde_json::from_str(line) {
            let new = key.sign(old.lane, old.epoch, old.seq, &old.hash, old.at);
            *line = serde_json::to_string(&ExportLine::Anchor(new))
                .map_err(|error| broken(error.to_string()))?;
            return Ok(forged);
        }
    }
    Err(broken("the export has no anchor".to_owned()))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(Failure::while_doing(format!("writing {}", file.display())))
}

fn place(lines: &[String], line: Option<&&String>) -> Result<usize, Failure> {
    let found = line.and_then(|line| lines.iter().position(|other| other == *line));
    found.ok_or_else(|| Failure::Broken("the export has too few rows".to_owned()))
}

/// A number of the row that a line of an export holds.
fn number(lines: &[String], place: usize, name: &str) -> Result<i64, Failure> {
    let parsed = lines.get(place).and_then(|line| serde_json::from_str::<Value>(line).ok());
    let found = parsed.and_then(|row| row.get(name).and_then(Value::as_i64));
    found.ok_or_else(|| Failure::Broken(format!("a row of the export has no {name}")))
}
