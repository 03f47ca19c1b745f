//! Tells collectors elsewhere that a service could not be reached: what no server of that service can know.
//!
//! For applications; pages have `agents/browser`. Nothing is seen, stored or sent before consent. It never panics into the application,
//! never blocks a request, and reports nothing of itself.
//!
//! ```no_run
//! use client_sdk::{Consent, Options, Policy, Reporter};
//!
//! # fn get(_: &str) -> Result<u16, std::io::Error> { Ok(200) }
//! let policy = Policy::parse(r#"{"max_age":86400,"collectors":["https://c1.example.net/r/shop","https://c2.example.org/r/shop"]}"#)?;
//! let reporter = Reporter::start(Options { policy: Some(policy), ..Options::default() });
//! reporter.consent(Consent::Basic); // from the application's own dialog
//!
//! match get("https://shop.example/cart") {
//!     Ok(status) => reporter.answered("https://shop.example", status),
//!     Err(error) => reporter.failed("https://shop.example", &error),
//! }
//! # Ok::<(), client_sdk::Unreadable>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`policy`] | what the site asks of its clients |
//! | [`failure`] | an error → what the collector calls it |
//! | [`queue`] | what waits: bounded, summed, with its denominators; decides and knows no clock |
//! | [`store`] | consent, policy and queue over a restart |
//! | [`transport`] | one upload |
//! | [`reporter`] | all of it together, and its thread |

pub mod failure;
pub mod policy;
pub mod queue;
pub mod reporter;
pub mod store;
pub mod transport;

pub use failure::Failure;
pub use policy::{Policy, Unreadable};
pub use queue::Consent;
pub use reporter::{FIELDS, Options, Reporter};
pub use transport::{Https, Transport};
