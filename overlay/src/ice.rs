//! The servers that help two nodes behind address translators to reach each other: STUN (RFC 8489) and TURN (RFC 8656).

use serde::{Deserialize, Deserializer, Serialize};

/// One STUN or TURN server, in the shape that browsers take (W3C WebRTC, `RTCIceServer`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// Where it is, such as `stun:stun.example.org:3478` or `turns:turn.example.org`. In JSON one text or a list of them.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// The user's name, for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password, for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(url) => vec![url],
        OneOrMany::Many(urls) => urls,
    })
}
