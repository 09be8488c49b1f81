//! The vendor model: what a vendor folder is made of, as plain data and one small trait per capability.
//! Nothing in it waits, sends or retries; the runtime does that once, for every vendor.

mod answer;
mod ask;
mod failure;
mod partner;
mod wire;

pub use answer::{Answer, Evidence, Outcome};
pub use ask::{Aml, Ask, Fraud, Inside, Kyc, Next, Payout, Sent, Vendor, VendorError};
pub use failure::{read_failure, write_failure};
pub use partner::{Idempotency, Partner, PartnerError};
pub use wire::{Exchange, HttpRequest, Lost, Method, Reply};
