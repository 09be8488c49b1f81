//! What the admin server asks the service that it belongs to. It does not judge by itself.

/// Whether a service can do its work now, and what stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// One line per part or problem, for `/readyz?verbose`. Without personal data and secrets.
    pub lines: Vec<String>,
}

/// A service that can be asked whether it is ready.
pub trait Probe: Send + Sync + 'static {
    /// Asks; called for every request to `/readyz`, so it answers within a second or says that it is not ready.
    fn check(&self) -> impl Future<Output = Readiness> + Send;
}
