//! A client that is not ours: the README's Python example, with Confluent's own serializer and default partitioner.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use integration_tests::{Expectation, Failure, Installation, verify};
use serde_json::Value;
use signalbox::payouts::Wish;
use signalbox_schemas::home_lane;
use tokio::process::Command;

use crate::Outcome;

const PAYOUTS: usize = 12;
const INSTALLED_WITHIN: Duration = Duration::from_secs(240);
const PUBLISHED_WITHIN: Duration = Duration::from_secs(60);

/// CRC32 puts most keys where murmur2 would not: those reach their lanes by forwards.
pub(crate) async fn python(on: &mut Installation) -> Outcome {
    let example = on.checkout().join("docs/clients/python");
    let python = environment(on.checkout(), &example.join("requirements.txt")).await?;
    let (mut lines, mut expected) = (String::new(), Vec::new());
    for _ in 0..PAYOUTS {
        let payout = on.payout(&Wish::default());
        lines.push_str(&format!("{}\n", payout.command));
        expected.push(Expectation::completed(payout));
    }
    let directory = tempfile::tempdir().map_err(Failure::while_doing("creating a directory"))?;
    let file = directory.path().join("payouts.jsonl");
    std::fs::write(&file, lines).map_err(Failure::while_doing("writing payouts for Python"))?;
    let mut publish = Command::new(&python);
    publish.arg(example.join("publish_payout.py")).arg("--brokers").arg(&on.settings().brokers);
    publish.arg("--registry").arg(&on.settings().registry).arg(&file);
    let out = output(publish, "publish_payout.py", PUBLISHED_WITHIN).await?;

    let lanes = on.reader.lane_count().await?;
    let strayed: Vec<&str> = out.lines().filter(|line| is_astray(line, lanes)).collect();
    assert_eq!(out.lines().count(), PAYOUTS, "Python says:\n{out}");
    assert!(
        !strayed.is_empty(),
        "every key was at home already, so forwards were not proven:\n{out}"
    );
    let verified = verify(on, &expected).await?;
    Ok(format!(
        "{} of {PAYOUTS} records arrived at another lane and were forwarded; {verified}",
        strayed.len()
    ))
}

/// Whether a line `{"payout_id": .., "partition": ..}` names a partition that is not the key's lane.
fn is_astray(line: &str, lanes: u16) -> bool {
    let told: Value = serde_json::from_str(line).unwrap_or_default();
    let id = told.get("payout_id").and_then(Value::as_str).unwrap_or_default();
    let partition = told.get("partition").and_then(Value::as_i64);
    partition != Some(i64::from(home_lane(id.as_bytes(), lanes).partition()))
}

/// A virtual environment with the example's requirements, made once per checkout and version of them.
async fn environment(checkout: &Path, requirements: &Path) -> Result<PathBuf, Failure> {
    let wanted = std::fs::read_to_string(requirements)
        .map_err(Failure::while_doing("reading requirements.txt"))?;
    let home = checkout.join(".local/python-client");
    let (python, stamp) = (home.join("bin/python"), home.join("installed.txt"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted)
        && python.is_file()
    {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&home);
    output(make, "python3 -m venv (Debian: apt-get install python3-venv)", INSTALLED_WITHIN)
        .await?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(requirements);
    output(install, "pip install", INSTALLED_WITHIN).await?;
    std::fs::write(&stamp, &wanted).map_err(Failure::while_doing("noting what pip installed"))?;
    Ok(python)
}

async fn output(mut command: Command, told: &str, within: Duration) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let ended = tokio::time::timeout(within, output).await;
    let late =
        |_elapsed| Failure::Broken(format!("{told} did not end within {} s", within.as_secs()));
    let output = ended.map_err(late)?.map_err(Failure::while_doing(format!("running {told}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let words = format!("{}{}", text(&output.stdout), text(&output.stderr));
    Err(Failure::Broken(format!("{told} ended with {}:\n{words}", output.status)))
}
