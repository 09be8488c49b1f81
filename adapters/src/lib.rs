//! Vendors: the model that every vendor folder fills in, the vendors, routing, and the one runtime that calls them.
//! It knows neither journeys nor lanes: a request comes in on a topic, an outcome goes out to the lane that asked.

mod codes;
/// Names of the metrics.
pub mod metrics;
/// The vendor model.
pub mod model;
mod routing;
/// The rules of a call, pure: the runtime obeys them, and the model of the protocol is explored with them.
pub mod rules;
mod runtime;
mod settings;
mod vendors;

pub use codes::CodesError;
pub use routing::{Policy, PolicyError, Route, VendorPolicy, opaque, route};
pub use runtime::{AdapterBus, AdapterError, AdapterOptions, Inlet, Outlet, group_of, run, run_on};
pub use settings::without_values;
pub use vendors::{ALL as VENDORS, Listing, find as find_vendor};

/// Target prefix of the spans of requests and vendor calls.
pub const SPAN_TARGET: &str = module_path!();
