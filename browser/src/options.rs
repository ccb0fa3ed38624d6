//! What a page says about the node that it wants.

use std::time::Duration;

use atoll::ice::IceServer;
use atoll::node::NodeBuilder;
use atoll::{Identity, Node};
use atoll_door::ErrorKind;
use serde::Deserialize;

use crate::error::WebError;

/// Links of a page at most, where it does not say: browsers carry some 500 connections over a page's life, and each costs memory.
const LINKS: usize = 16;

/// The options of `Atoll.join`, as the face hands them on: it has checked their types.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Options {
    signalling: Vec<String>,
    network: Option<String>,
    secret: Option<String>,
    name: Option<String>,
    links: Option<usize>,
    #[serde(default)]
    leaf: bool,
    #[serde(default)]
    ice_servers: Vec<IceServer>,
    #[serde(default)]
    relay_only: bool,
    #[serde(default = "yes")]
    direct_links: bool,
    /// In milliseconds.
    timeout: Option<u32>,
}

fn yes() -> bool {
    true
}

impl Options {
    pub(crate) fn read(json: &str) -> Result<Self, WebError> {
        serde_json::from_str(json).map_err(|error| WebError::new(ErrorKind::WrongArguments, error.to_string()))
    }

    pub(crate) fn builder(self, key: Option<&[u8]>) -> Result<NodeBuilder, WebError> {
        let mut builder = Node::builder().max_links(self.links.unwrap_or(LINKS));
        if self.leaf {
            builder = builder.role(atoll::wire::Role::Leaf);
        }
        builder = self.signalling.into_iter().fold(builder, NodeBuilder::signalling);
        builder = self.ice_servers.into_iter().fold(builder, NodeBuilder::ice_server);
        if let Some(network) = self.network {
            builder = builder.network(network);
        }
        if let Some(secret) = self.secret {
            builder = builder.secret(secret);
        }
        if let Some(name) = self.name {
            builder = builder.name(name.strip_prefix('@').map(str::to_owned).unwrap_or(name));
        }
        if let Some(key) = key {
            let wrong = |_| WebError::new(ErrorKind::WrongArguments, "the key is no P-256 key in PKCS#8");
            builder = builder.identity(Identity::from_pkcs8_der(key).map_err(wrong)?);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.start_timeout(Duration::from_millis(timeout.into()));
        }
        Ok(builder.relay_only(self.relay_only).direct_links(self.direct_links))
    }
}
