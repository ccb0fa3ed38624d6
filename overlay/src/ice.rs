//! The STUN and TURN servers that help two nodes find a way to each other, in the shape browsers use.
//!
//! The shape is `RTCIceServer` of the W3C's WebRTC recommendation, so that a list of servers can be passed on to a browser
//! as it is: `{"urls": ["turn:turn.example.org"], "username": "me", "credential": "secret"}`. What the URLs may look like
//! is in RFC 7064 (`stun:`) and RFC 7065 (`turn:`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Servers in a list at most. Each costs a node requests for every link that it opens.
pub const MAX_ICE_SERVERS: usize = 8;

/// URLs of one server at most.
pub const MAX_ICE_URLS: usize = 4;

/// Bytes in a URL, a user name or a credential at most.
pub const MAX_ICE_TEXT: usize = 512;

/// One STUN or TURN server, perhaps under several URLs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// Such as `stun:stun.example.org:3478` or `turn:turn.example.org?transport=udp`. JSON may give one text or a list.
    #[serde(deserialize_with = "one_or_many")]
    pub urls: Vec<String>,
    /// The user name; a TURN server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password that goes with the user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl IceServer {
    /// A server that needs no password.
    pub fn new(url: impl Into<String>) -> Self {
        IceServer { urls: vec![url.into()], username: None, credential: None }
    }

    /// Whether the server can be used at all: its URLs are `stun:` or `turn:`, a TURN server has a password, and nothing
    /// is longer than the limits of this module.
    pub fn check(&self) -> Result<(), IceServerError> {
        if self.urls.is_empty() || self.urls.len() > MAX_ICE_URLS {
            return Err(IceServerError::Urls);
        }
        let texts = self.urls.iter().chain(&self.username).chain(&self.credential);
        if texts.into_iter().any(|text| text.len() > MAX_ICE_TEXT || text.chars().any(char::is_control)) {
            return Err(IceServerError::Text);
        }
        for url in &self.urls {
            match url.split_once(':') {
                Some(("stun" | "stuns", host)) if !host.is_empty() => {}
                Some(("turn" | "turns", host)) if !host.is_empty() => {
                    if self.username.is_none() || self.credential.is_none() {
                        return Err(IceServerError::Credential(url.clone()));
                    }
                }
                _ => return Err(IceServerError::Scheme(url.clone())),
            }
        }
        Ok(())
    }
}

/// A list of servers in which every server is usable and there are not too many of them.
pub fn check_all(servers: &[IceServer]) -> Result<(), IceServerError> {
    if servers.len() > MAX_ICE_SERVERS {
        return Err(IceServerError::Servers);
    }
    servers.iter().try_for_each(IceServer::check)
}

/// A node's own servers and those among `named` that can be used, [`MAX_ICE_SERVERS`] at most. What somebody else names is a
/// favour: a server that is not usable is left out, and costs the others nothing.
pub fn with_named(mut own: Vec<IceServer>, named: Vec<IceServer>) -> Vec<IceServer> {
    own.extend(named.into_iter().filter(|server| server.check().is_ok()));
    own.truncate(MAX_ICE_SERVERS);
    own
}

/// The credential stays out of logs.
impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).field("username", &self.username).finish_non_exhaustive()
    }
}

/// The settings of a STUN or TURN server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// More than [`MAX_ICE_SERVERS`].
    #[error("too many ICE servers: name at most {MAX_ICE_SERVERS}")]
    Servers,
    /// None, or more than [`MAX_ICE_URLS`].
    #[error("an ICE server has 1 to {MAX_ICE_URLS} urls")]
    Urls,
    /// Longer than [`MAX_ICE_TEXT`], or with control characters in it.
    #[error("a text of an ICE server is over {MAX_ICE_TEXT} bytes or has control characters")]
    Text,
    /// Neither `stun:` nor `turn:`.
    #[error("not the url of an ICE server: \"{}\"; it starts with stun:, stuns:, turn: or turns:", .0.escape_debug())]
    Scheme(String),
    /// A TURN server wants a user name and a credential.
    #[error("\"{}\" needs a username and a credential", .0.escape_debug())]
    Credential(String),
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Many(Vec<String>),
    }
    if !deserializer.is_human_readable() {
        return Vec::deserialize(deserializer);
    }
    Ok(match Urls::deserialize(deserializer)? {
        Urls::One(url) => vec![url],
        Urls::Many(urls) => urls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_server_that_cannot_be_used_costs_the_others_nothing() {
        let (own, good) = (IceServer::new("stun:own.example.org"), IceServer::new("stun:good.example.org"));
        let crowded = IceServer { urls: vec!["stun:a.example.org".to_owned(); MAX_ICE_URLS + 1], ..good.clone() };
        let named = vec![crowded, IceServer::new("turn:no-credential.example.org"), good.clone()];
        assert_eq!(with_named(vec![own.clone()], named), [own.clone(), good.clone()]);
        let many = with_named(vec![own], vec![good; 20]);
        assert_eq!((many.len(), check_all(&many)), (MAX_ICE_SERVERS, Ok(())));
    }

    #[test]
    fn urls_may_be_a_text_or_a_list_as_in_browsers() {
        let one: IceServer = serde_json::from_str(r#"{"urls": "stun:a.example"}"#).unwrap();
        assert_eq!(one, IceServer::new("stun:a.example"));
        let json = r#"{"urls":["turn:a.example","turn:b.example"],"username":"me","credential":"secret"}"#;
        let many: IceServer = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&many).unwrap(), json);
        assert_eq!(many.check(), Ok(()));
        let bytes = postcard::to_allocvec(&many).unwrap();
        assert_eq!(postcard::from_bytes::<IceServer>(&bytes).unwrap(), many);
    }

    #[test]
    fn servers_that_cannot_work_are_refused_with_the_reason() {
        assert_eq!(IceServer::new("http://a").check(), Err(IceServerError::Scheme("http://a".into())));
        assert_eq!(IceServer::new("stun:").check(), Err(IceServerError::Scheme("stun:".into())));
        assert_eq!(IceServer::new("turn:a").check(), Err(IceServerError::Credential("turn:a".into())));
        assert_eq!(IceServer::new("stun:a\r\nb").check(), Err(IceServerError::Text));
        assert_eq!(IceServer::new("stun:".to_owned() + &"a".repeat(600)).check(), Err(IceServerError::Text));
        assert_eq!(check_all(&vec![IceServer::new("stun:a"); 9]), Err(IceServerError::Servers));
    }

    #[test]
    fn the_credential_is_not_printed() {
        let server = IceServer { credential: Some("secret".into()), ..IceServer::new("stun:a") };
        assert!(!format!("{server:?}").contains("secret"));
    }
}
