//! What all requests share: policy, vendors with their places, the HTTP client, and the grouped ways to the store.
//! It holds things together and decides nothing.

use secrecy::SecretString;
use serde_json::Value;
use signalbox_bus::Codec;
use signalbox_schemas::{AttemptId, FlowId, Micros};
use signalbox_store::{
    AttemptRow, AttemptStore, Permit, PermitRequest, RecognitionRow, StoredResult,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::metrics;
use crate::model::{Answer, Exchange, HttpRequest, Lost, Reply, Vendor};
use crate::routing::{Policy, VendorPolicy};
use crate::rules;
use crate::runtime::batch::Batcher;
use crate::runtime::http::{Http, Sending, is_too_late};
use crate::runtime::pace::Pace;
use crate::runtime::publish;
use crate::runtime::safe::{Safe, SafeError, disturbed};
use crate::runtime::{AdapterError, AdapterOptions};
use crate::vendors;

/// Permits or results in one statement.
const BATCH_MAX: usize = 1_000;
/// First wait after trouble with the store; doubled up to `TROUBLE_MAX`.
pub(crate) const TROUBLE: Duration = Duration::from_millis(50);
/// Longest wait between tries.
pub(crate) const TROUBLE_MAX: Duration = Duration::from_secs(2);

/// The store did not answer; what it did is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trouble;

/// A vendor with its terms and places.
pub(crate) struct Partner {
    pub(crate) vendor: Vendor,
    pub(crate) terms: VendorPolicy,
    places: Semaphore,
}

/// A place at a vendor, given back when dropped.
pub(crate) struct Place<'a> {
    vendor: &'a str,
    _held: SemaphorePermit<'a>,
}

/// What all requests share.
pub(crate) struct Desk<S> {
    pub(crate) policy: Policy,
    pub(crate) codec: Arc<Codec>,
    pub(crate) learning: Mutex<()>,
    pub(crate) permit_age_max: Duration,
    pub(crate) pace: Pace,
    store: Arc<S>,
    partners: BTreeMap<String, Partner>,
    /// None where every vendor is inside the process.
    http: Option<Http>,
    permits: Batcher<PermitRequest, Result<Permit, Trouble>>,
    results: Batcher<StoredResult, Result<bool, Trouble>>,
    rows: Batcher<AttemptId, Result<Option<AttemptRow>, Trouble>>,
    recognitions: Batcher<FlowId, Result<Recognised, Trouble>>,
}

/// What was found out about a customer, and database time.
type Recognised = (Option<RecognitionRow>, Micros);

impl<S: AttemptStore + 'static> Desk<S> {
    /// Makes every vendor of the policy ready and starts the ways to the store.
    pub(crate) fn new(
        options: &AdapterOptions,
        codec: Arc<Codec>,
        store: Arc<S>,
    ) -> Result<Self, AdapterError> {
        let mut partners = BTreeMap::new();
        for (name, terms) in &options.policy.vendors {
            let Some(listing) = vendors::find(options.vendors, name) else { continue };
            let settings = options
                .settings
                .get(name)
                .cloned()
                .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            let vendor = (listing.build)(settings)?;
            let places = Semaphore::new(terms.in_flight_max.min(Semaphore::MAX_PERMITS));
            partners.insert(name.clone(), Partner { vendor, terms: terms.clone(), places });
        }
        let is_outside = |partner: &Partner| partner.vendor.inside.is_none();
        let outside = partners.values().any(is_outside);
        let safe = Safe { store: Arc::clone(&store), keys: Arc::clone(&options.keys) };
        let (for_permits, for_rows) = (safe.clone(), safe);
        let (for_results, for_recognitions) = (Arc::clone(&store), Arc::clone(&store));
        Ok(Self {
            policy: options.policy.clone(),
            codec,
            learning: Mutex::new(()),
            permit_age_max: Duration::from_millis(options.permit_age_ms_max),
            pace: Pace::new(),
            store,
            partners,
            http: outside.then(Http::new).transpose().map_err(AdapterError::Http)?,
            permits: Batcher::start(BATCH_MAX, move |asked| {
                take_permits(for_permits.clone(), asked)
            }),
            results: Batcher::start(BATCH_MAX, move |given| {
                store_results(Arc::clone(&for_results), given)
            }),
            rows: Batcher::start(BATCH_MAX, move |asked| find_rows(for_rows.clone(), asked)),
            recognitions: Batcher::start(BATCH_MAX, move |asked| {
                recognise(Arc::clone(&for_recognitions), asked)
            }),
        })
    }

    /// Makes the gates of vendors that move money known, waiting for the store as long as it takes.
    pub(crate) async fn ensure_gates(&self) {
        let writing = self.partners.iter().filter(|(_, partner)| partner.vendor.payout.is_some());
        let names: Vec<String> = writing.map(|(name, _)| name.clone()).collect();
        let mut wait = TROUBLE;
        while let Err(error) = self.store.ensure_gates(&names).await {
            disturbed(&error.into());
            pause(&mut wait).await;
        }
    }

    pub(crate) fn partner(&self, vendor: &str) -> Option<&Partner> {
        self.partners.get(vendor)
    }

    /// Asks for a permit; repeated while the store is in trouble, up to the deadline.
    pub(crate) async fn permit(
        &self,
        request: &PermitRequest,
        deadline: Instant,
    ) -> Result<Permit, Trouble> {
        asked(&self.permits, request.clone(), deadline).await
    }

    /// Keeps an answer with its attempt, however long that takes: it must be kept before it is told. Returns what is told:
    /// doubt, where the answer `rests_on` fewer sends than there are by now.
    pub(crate) async fn keep(
        &self,
        attempt: AttemptId,
        mut answer: Answer,
        rests_on: Option<u32>,
    ) -> Answer {
        let mut wait = TROUBLE;
        let mut sends = rests_on;
        loop {
            let result = StoredResult { attempt, result: publish::stored(&answer), sends };
            match self.results.ask(result).await {
                Some(Ok(true)) => return answer,
                Some(Ok(false)) => (answer, sends) = (rules::unproven(&answer), None),
                Some(Err(Trouble)) | None => pause(&mut wait).await,
            }
        }
    }

    /// The row of an attempt; repeated while the store is in trouble, up to the deadline.
    pub(crate) async fn find(
        &self,
        attempt: AttemptId,
        deadline: Instant,
    ) -> Result<Option<AttemptRow>, Trouble> {
        asked(&self.rows, attempt, deadline).await
    }

    /// Raises `sends` before a resend. Not repeated after trouble: it may have been raised, and then it is not ours to use.
    pub(crate) async fn raise_sends(
        &self,
        attempt: AttemptId,
        expected: u32,
    ) -> Result<bool, Trouble> {
        self.store.raise_sends(attempt, expected).await.map_err(|error| {
            disturbed(&error.into());
            Trouble
        })
    }

    /// Database time, by which the age of a first send is told.
    pub(crate) async fn now(&self) -> Result<Micros, Trouble> {
        self.store.now().await.map_err(|error| {
            disturbed(&error.into());
            Trouble
        })
    }

    /// What was found out about the customer of a flow, and database time; repeated while the store is in trouble, up to
    /// the deadline.
    pub(crate) async fn recognition(
        &self,
        flow: FlowId,
        deadline: Instant,
    ) -> Result<Recognised, Trouble> {
        asked(&self.recognitions, flow, deadline).await
    }

    /// Sends a request to a vendor, or hands it to the vendor inside the process.
    pub(crate) async fn send(
        &self,
        partner: &Partner,
        request: &HttpRequest,
        within: Duration,
        leave_before: Option<Instant>,
    ) -> Exchange {
        if let Some(inside) = &partner.vendor.inside {
            let reply = match is_too_late(leave_before) {
                true => Reply::Lost(Lost::NotSent),
                false => inside(request),
            };
            return Exchange { operation: request.operation.clone(), reply };
        }
        let Some(http) = &self.http else {
            let reply = Reply::Lost(Lost::NotSent);
            return Exchange { operation: request.operation.clone(), reply };
        };
        let credentials: &[(String, SecretString)] = &partner.vendor.credentials;
        let sending =
            Sending { base_url: &partner.terms.base_url, credentials, within, leave_before };
        http.send(request, &sending).await
    }
}

impl Partner {
    /// A place at the vendor, or none where there is none in time.
    pub(crate) async fn place(&self, deadline: Instant) -> Option<Place<'_>> {
        let start_within = Duration::from_millis(self.terms.start_within_ms);
        let within = start_within.min(deadline.saturating_duration_since(Instant::now()));
        let held = match self.places.try_acquire() {
            Ok(held) => held,
            Err(_) => tokio::time::timeout(within, self.places.acquire()).await.ok()?.ok()?,
        };
        let vendor = self.vendor.partner.name.as_str();
        metrics::in_flight(vendor, 1.0);
        Some(Place { vendor, _held: held })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        metrics::in_flight(self.vendor, -1.0);
    }
}

/// Asks, again while the store is in trouble, up to the deadline.
async fn asked<Q: Clone + Send + 'static, A: Send + 'static>(
    batcher: &Batcher<Q, Result<A, Trouble>>,
    request: Q,
    deadline: Instant,
) -> Result<A, Trouble> {
    let mut wait = TROUBLE;
    loop {
        match batcher.ask(request.clone()).await {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(Trouble)) if Instant::now() + wait < deadline => pause(&mut wait).await,
            _ => return Err(Trouble),
        }
    }
}

/// Takes permits in one statement. An attempt that is asked for twice at once gets one permit, not two.
async fn take_permits<S: AttemptStore>(
    safe: Safe<S>,
    asked: Vec<PermitRequest>,
) -> Vec<Result<Permit, Trouble>> {
    let mut seen = HashSet::new();
    let first: Vec<bool> = asked.iter().map(|request| seen.insert(request.attempt)).collect();
    let requests: Vec<PermitRequest> = asked
        .into_iter()
        .zip(&first)
        .filter(|(_, first)| **first)
        .map(|(request, _)| request)
        .collect();
    metrics::permit_batch(requests.len());
    let mut permits = match safe.take_permits(requests).await {
        Ok(permits) => permits.into_iter(),
        Err(error) => {
            disturbed(&error);
            Vec::new().into_iter()
        }
    };
    // The second one asks again and is told how the first one stands.
    let answer =
        |first: &bool| if *first { permits.next().flatten().ok_or(Trouble) } else { Err(Trouble) };
    first.iter().map(answer).collect()
}

async fn store_results<S: AttemptStore>(
    store: Arc<S>,
    given: Vec<StoredResult>,
) -> Vec<Result<bool, Trouble>> {
    // Two results of one attempt go one after the other, so that each meets what the earlier one left.
    let mut rounds: Vec<Vec<StoredResult>> = Vec::new();
    let mut before: HashMap<AttemptId, usize> = HashMap::new();
    let mut places = Vec::with_capacity(given.len());
    for result in given {
        let earlier = before.entry(result.attempt).or_default();
        places.push((result.attempt, *earlier));
        match rounds.get_mut(*earlier) {
            Some(round) => round.push(result),
            None => rounds.push(vec![result]),
        }
        *earlier += 1;
    }
    let mut not_kept = HashSet::new();
    for (number, round) in rounds.iter().enumerate() {
        match store.store_results(round).await {
            Ok(sent_again) => {
                not_kept.extend(sent_again.into_iter().map(|attempt| (attempt, number)));
            }
            Err(error) => return all_in_trouble(&error.into(), places.len()),
        }
    }
    places.iter().map(|place| Ok(!not_kept.contains(place))).collect()
}

/// Reads attempts in one statement. Where a request cannot be opened each is read by itself: somebody changed it, and it
/// stands in nobody else's way.
pub(super) async fn find_rows<S: AttemptStore>(
    safe: Safe<S>,
    asked: Vec<AttemptId>,
) -> Vec<Result<Option<AttemptRow>, Trouble>> {
    match safe.find(&asked).await {
        Ok(rows) => {
            let rows: HashMap<AttemptId, AttemptRow> =
                rows.into_iter().map(|row| (row.plan.id, row)).collect();
            asked.iter().map(|attempt| Ok(rows.get(attempt).cloned())).collect()
        }
        Err(SafeError::Open(_)) if asked.len() > 1 => {
            let mut found = Vec::with_capacity(asked.len());
            for attempt in asked {
                found.extend(Box::pin(find_rows(safe.clone(), vec![attempt])).await);
            }
            found
        }
        Err(error) => all_in_trouble(&error, asked.len()),
    }
}

/// Reads what was found out about the customers of flows in one statement.
async fn recognise<S: AttemptStore>(
    store: Arc<S>,
    asked: Vec<FlowId>,
) -> Vec<Result<Recognised, Trouble>> {
    match store.recognitions(&asked).await {
        Ok((found, now)) => asked.iter().map(|flow| Ok((found.get(flow).copied(), now))).collect(),
        Err(error) => all_in_trouble(&error.into(), asked.len()),
    }
}

/// Tells of trouble once, and each of a group that it was in it.
fn all_in_trouble<A>(error: &SafeError, count: usize) -> Vec<Result<A, Trouble>> {
    disturbed(error);
    std::iter::repeat_with(|| Err(Trouble)).take(count).collect()
}

/// Waits, longer each time.
pub(crate) async fn pause(wait: &mut Duration) {
    tokio::time::sleep(*wait).await;
    *wait = wait.saturating_mul(2).min(TROUBLE_MAX);
}

/// Wall-clock time, for what the contract calls an instant.
#[allow(
    clippy::disallowed_methods,
    reason = "tells when a call was made; nothing is decided by it"
)]
pub(crate) fn wall_clock() -> Micros {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
