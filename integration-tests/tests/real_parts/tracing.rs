//! One trace from a command to the calls of vendors and back, as a collector sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use integration_tests::{Collector, Expectation, Failure, Installation, SeenSpan, verify};
use signalbox::payouts::Wish;

use crate::{ADAPTER, ENGINE, Outcome};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The span of the service that publishes the command.
const CALLER: &str = "b7ad6b7169203331";
/// Exporters send every five seconds, and when their process ends.
const EXPORTED_WITHIN: Duration = Duration::from_secs(30);
/// What a payout asks vendors at least, by the capability that asks.
const ASKED: [&str; 5] =
    ["kyc.check", "aml.screen", "fraud.score", "payout.send", "payout.inquire"];

pub(crate) async fn from_command_to_vendor(on: &mut Installation) -> Outcome {
    let collector = Collector::start().await?;
    restart(on, vec![("SIGNALBOX__TRACES__OTLP".to_owned(), collector.address().to_owned())])
        .await?;
    let payout = on.payout(&Wish::default());
    let directory = tempfile::tempdir().map_err(Failure::while_doing("creating a directory"))?;
    let file = directory.path().join("payout.jsonl");
    std::fs::write(&file, payout.command.to_string())
        .map_err(Failure::while_doing("writing a payout"))?;
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let path = file.display().to_string();
    on.succeed(&["publish", &path, "--traceparent", &traceparent]).await?;
    verify(on, &[Expectation::completed(payout.clone())]).await?;

    let spans = collector.until(TRACE, EXPORTED_WITHIN, told).await?;
    for span in &spans {
        let known = span.parent == CALLER || spans.iter().any(|other| other.id == span.parent);
        assert!(known, "a span without a parent in its trace: {span:?}");
        let text = format!("{span:?}");
        let name = payout.command.pointer("/beneficiary/party/name");
        let name = name.and_then(serde_json::Value::as_str).unwrap_or_default();
        assert!(!name.is_empty() && !text.contains(name), "a span tells the payee's name: {text}");
    }
    restart(on, Vec::new()).await?;
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    Ok(format!("{} spans of {services:?} in the trace of the command", spans.len()))
}

/// Every capability was asked, vendors were called on its behalf, and the engine applied what they said of the payment.
/// What a timer begins later is in a trace of its own, whose id is the flow's.
fn told(spans: &[SeenSpan]) -> bool {
    let asked = ASKED.iter().all(|capability| {
        let of = |span: &&SeenSpan| span.name == *capability;
        spans.iter().filter(of).any(|asked| spans.iter().any(|call| call.parent == asked.id))
    });
    let paid = |span: &SeenSpan| {
        span.service == "signalbox-engine"
            && span.name == "process payout.send.outcomes.v1"
            && span
                .attributes
                .get("signalbox.state")
                .is_some_and(|state| state == "await_settlement")
    };
    asked && spans.iter().any(paid)
}

async fn restart(on: &mut Installation, settings: Vec<(String, String)>) -> Result<(), Failure> {
    on.also(settings);
    on.stop_engine(ENGINE).await?;
    on.kill_adapter(ADAPTER)?;
    on.start_adapter(ADAPTER).await?;
    on.start_engine(ENGINE).await
}
