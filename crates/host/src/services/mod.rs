//! Other software of this host, under the names of the exporters that people know.
//!
//! Each is a collector of its own: with a deadline, a circuit breaker and its cost. One that is configured and does not answer shows `…_up 0`;
//! one that is only looked for and not there shows nothing.

mod ask;
pub(crate) mod config;
mod exposed;
mod haproxy;
mod status;
#[cfg(test)]
mod tests;
mod text;

use std::io;

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};
use config::ServicesConfig;

/// Asks one service; what it says becomes samples.
type Ask = fn(&Service, &mut Output) -> io::Result<()>;

/// A kind of service.
struct Kind {
    name: &'static str,
    /// Its metric that says whether it answers.
    up: &'static str,
    usual: &'static str,
    setting: fn(&ServicesConfig) -> &str,
    ask: Ask,
}

static KINDS: [Kind; 9] = [
    Kind {
        name: "nginx",
        up: "nginx_up",
        usual: "http://127.0.0.1/nginx_status",
        setting: |config| &config.nginx,
        ask: status::nginx,
    },
    Kind {
        name: "apache",
        up: "apache_up",
        usual: "http://127.0.0.1/server-status",
        setting: |config| &config.apache,
        ask: status::apache,
    },
    Kind {
        name: "haproxy",
        up: "haproxy_up",
        usual: "/run/haproxy/admin.sock",
        setting: |config| &config.haproxy,
        ask: haproxy::ask,
    },
    Kind {
        name: "redis",
        up: "redis_up",
        usual: "127.0.0.1:6379",
        setting: |config| &config.redis,
        ask: text::redis,
    },
    Kind {
        name: "memcached",
        up: "memcached_up",
        usual: "127.0.0.1:11211",
        setting: |config| &config.memcached,
        ask: text::memcached,
    },
    Kind {
        name: "nats",
        up: "gnatsd_up",
        usual: "http://127.0.0.1:8222",
        setting: |config| &config.nats,
        ask: status::nats,
    },
    Kind {
        name: "etcd",
        up: "etcd_up",
        usual: "http://127.0.0.1:2379/metrics",
        setting: |config| &config.etcd,
        ask: exposed::ask,
    },
    Kind {
        name: "rabbitmq",
        up: "rabbitmq_up",
        usual: "http://127.0.0.1:15692/metrics",
        setting: |config| &config.rabbitmq,
        ask: exposed::ask,
    },
    Kind {
        name: "jolokia",
        up: "jolokia_up",
        usual: "http://127.0.0.1:8778/jolokia",
        setting: |config| &config.jolokia,
        ask: status::jolokia,
    },
];

/// The names of all services.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// One service that is asked.
pub(crate) struct Service {
    kind: &'static Kind,
    address: String,
    /// Its address is set, so that its absence is a failure.
    expected: bool,
    password_file: String,
}

/// The services that are asked.
pub(crate) fn all(config: &ServicesConfig) -> Vec<Service> {
    let service = |kind: &'static Kind| {
        let set = (kind.setting)(config);
        (!set.is_empty() || config.discover).then(|| Service {
            kind,
            address: if set.is_empty() { kind.usual } else { set }.to_owned(),
            expected: !set.is_empty(),
            password_file: config.redis_password_file.clone(),
        })
    };
    KINDS.iter().filter_map(service).collect()
}

impl Collector for Service {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn collect(&mut self, _files: &Files, out: &mut Output) -> Result<(), Error> {
        let asked = (self.kind.ask)(self, out);
        let up = |out: &mut Output, value| {
            out.gauge(self.kind.up, "Whether the service answers on this host.", &[], value);
        };
        match asked {
            Ok(()) => {
                up(out, 1.0);
                Ok(())
            }
            Err(err) if !self.expected && is_absence(&err) => {
                Err(Error::Absent(format!("{} at {}", self.kind.name, self.address)))
            }
            Err(source) if self.expected => {
                tracing::debug!(service = self.kind.name, address = self.address, error = %source, "a service does not answer");
                up(out, 0.0);
                Ok(())
            }
            Err(source) => {
                Err(Error::Read { path: format!("{} at {}", self.kind.name, self.address), source })
            }
        }
    }
}

/// Whether nobody is there, or somebody else.
fn is_absence(err: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(err.kind(), Kind::ConnectionRefused | Kind::NotFound | Kind::ConnectionReset | Kind::InvalidData)
}

/// What came is not what such a service says.
fn other(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}
