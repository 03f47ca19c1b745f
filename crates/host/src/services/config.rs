//! Settings of the watch over other software.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Other software of this host that is asked for its own counts. An address that is set is always asked; `discover` asks the usual ones too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServicesConfig {
    /// Whether the services without an address here are looked for at their usual addresses on this host. It is no failure when one is not there.
    pub discover: bool,
    /// nginx: the URL of `stub_status`; usually `http://127.0.0.1/nginx_status`.
    pub nginx: String,
    /// Apache httpd: the URL of `mod_status`; usually `http://127.0.0.1/server-status`.
    pub apache: String,
    /// HAProxy: the path of its statistics socket, or the URL of its statistics page; usually `/run/haproxy/admin.sock`.
    pub haproxy: String,
    /// Redis or Valkey: `host:port` or the path of its socket; usually `127.0.0.1:6379`.
    pub redis: String,
    /// A file with the password for Redis, or with user and password separated by a blank; read at every collection.
    pub redis_password_file: String,
    /// memcached: `host:port` or the path of its socket; usually `127.0.0.1:11211`.
    pub memcached: String,
    /// NATS: the URL of its monitoring port; usually `http://127.0.0.1:8222`.
    pub nats: String,
    /// etcd: the URL of its metrics; usually `http://127.0.0.1:2379/metrics`.
    pub etcd: String,
    /// RabbitMQ: the URL of its plugin `rabbitmq_prometheus`; usually `http://127.0.0.1:15692/metrics`.
    pub rabbitmq: String,
    /// A Java virtual machine: the URL of its Jolokia agent; usually `http://127.0.0.1:8778/jolokia`.
    pub jolokia: String,
}
