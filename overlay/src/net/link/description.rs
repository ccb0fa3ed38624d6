//! What two nodes must tell each other before they can open a link: where they are and which certificate they will show.
//!
//! On the way it is a small SDP text (RFC 8866, RFC 8841) that any WebRTC implementation takes, about 400 bytes, with
//! the ICE candidates in it that were known when it was written (RFC 8839). What comes from the network is parsed here into
//! checked fields and written anew: no text of a stranger ever reaches a WebRTC library.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::LinkError;
use crate::wire::{MAX_DESCRIPTION, MAX_FRAME};

/// Bytes in one candidate at most.
pub const MAX_CANDIDATE: usize = 256;

/// Candidates of one side of a link at most; those beyond are ignored.
pub const MAX_CANDIDATES: usize = 16;

/// Lengths of an ICE user name fragment (RFC 8839, section 5.4); the most is this project's.
const UFRAG: std::ops::RangeInclusive<usize> = 4..=64;

/// Lengths of an ICE password (RFC 8839, section 5.4); the most is this project's.
const PASSWORD: std::ops::RangeInclusive<usize> = 22..=128;

/// The SHA-256 hash of a DTLS certificate: what proves that both ends of a link talk to each other and to nobody between.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let mut bytes = [0; 32];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = pair
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or(LinkError::Description("no SHA-256 fingerprint"))?;
        }
        match pairs.next() {
            None => Ok(Fingerprint(bytes)),
            Some(_) => Err(LinkError::Description("no SHA-256 fingerprint")),
        }
    }
}

/// Which end starts the DTLS handshake (RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setup {
    /// An offer leaves it to the other side.
    ActPass,
    /// This end starts.
    Active,
    /// The other end starts.
    Passive,
}

/// An offer or an answer in its checked parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) setup: Setup,
    pub(crate) candidates: Vec<Candidate>,
}

impl Description {
    /// Reads an offer or an answer, of this project or of any WebRTC implementation.
    pub(crate) fn parse(text: &str) -> Result<Self, LinkError> {
        if text.len() > MAX_DESCRIPTION {
            return Err(LinkError::Description("over the limit of length"));
        }
        let (mut ufrag, mut password, mut fingerprint, mut setup) = (None, None, None, None);
        let (mut media, mut candidates) = (0, Vec::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("m=") {
                media += 1;
                if !rest.starts_with("application ") || !rest.contains("webrtc-datachannel") {
                    return Err(LinkError::Description("other media than data channels"));
                }
            }
            let Some((name, value)) = line.strip_prefix("a=").and_then(|a| a.split_once(':')) else { continue };
            let value = value.trim();
            match name {
                "ice-ufrag" => ufrag = Some(ice_text(value, UFRAG)?),
                "ice-pwd" => password = Some(ice_text(value, PASSWORD)?),
                "fingerprint" => match value.split_once(' ') {
                    Some((hash, value)) if hash.eq_ignore_ascii_case("sha-256") => fingerprint = Some(value.parse()?),
                    _ => {}
                },
                "setup" => {
                    setup = Some(match value {
                        "actpass" => Setup::ActPass,
                        "active" => Setup::Active,
                        "passive" => Setup::Passive,
                        _ => return Err(LinkError::Description("unknown setup")),
                    });
                }
                // One that cannot be used is no reason to refuse the others.
                "candidate" if candidates.len() < MAX_CANDIDATES => candidates.extend(Candidate::parse(value).ok()),
                _ => {}
            }
        }
        if media != 1 {
            return Err(LinkError::Description("not one section of data channels"));
        }
        Ok(Description {
            ufrag: ufrag.ok_or(LinkError::Description("no ICE user name"))?,
            password: password.ok_or(LinkError::Description("no ICE password"))?,
            fingerprint: fingerprint.ok_or(LinkError::Description("no SHA-256 fingerprint"))?,
            setup: setup.ok_or(LinkError::Description("no setup"))?,
            candidates,
        })
    }
}

impl Description {
    /// The SDP text with this as the limit of messages. What the peer is told is [`MAX_FRAME`]; a WebRTC library that is told of a
    /// peer with that limit applies it both ways.
    pub(crate) fn text(&self, max_message: u32) -> String {
        Text(self, max_message).to_string()
    }
}

/// What the peer is told.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text(self, MAX_FRAME as u32).fmt(f)
    }
}

/// The SDP text, short and the same for the same fields, with a limit of messages.
struct Text<'a>(&'a Description, u32);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Text(description, max_message) = self;
        let setup = match description.setup {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        };
        f.write_str("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n")?;
        f.write_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n")?;
        write!(
            f,
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n",
            description.ufrag, description.password
        )?;
        write!(f, "a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n", description.fingerprint)?;
        write!(f, "a=sctp-port:5000\r\na=max-message-size:{max_message}\r\n")?;
        description.candidates.iter().try_for_each(|candidate| write!(f, "a={candidate}\r\n"))
    }
}

/// One address at which a node may be reached (RFC 8839, section 5.1), over UDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    foundation: String,
    priority: u32,
    address: String,
    port: u16,
    kind: &'static str,
}

impl Candidate {
    /// Reads a candidate; `candidate:` may stand before it or not.
    ///
    /// Only UDP is taken: a candidate over TCP would have this node open TCP connections wherever a stranger likes.
    pub(crate) fn parse(text: &str) -> Result<Self, LinkError> {
        if text.len() > MAX_CANDIDATE {
            return Err(LinkError::Candidate);
        }
        let text = text.strip_prefix("a=").unwrap_or(text);
        let mut words = text.strip_prefix("candidate:").unwrap_or(text).split_ascii_whitespace();
        let mut word = || words.next().ok_or(LinkError::Candidate);
        let foundation = word()?;
        if foundation.len() > 32 || !foundation.bytes().all(is_ice_char) {
            return Err(LinkError::Candidate);
        }
        if word()? != "1" || !word()?.eq_ignore_ascii_case("udp") {
            return Err(LinkError::Candidate);
        }
        let priority = word()?.parse().map_err(|_| LinkError::Candidate)?;
        let address = address(word()?)?;
        let port = word()?.parse().map_err(|_| LinkError::Candidate)?;
        if word()? != "typ" || port == 0 {
            return Err(LinkError::Candidate);
        }
        let kind = match word()? {
            "host" => "host",
            "srflx" => "srflx",
            "prflx" => "prflx",
            "relay" => "relay",
            _ => return Err(LinkError::Candidate),
        };
        Ok(Candidate { foundation: foundation.to_owned(), priority, address, port, kind })
    }
}

/// Without the related address: nobody needs it, and it would tell strangers a private one.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { foundation, priority, address, port, kind } = self;
        write!(f, "candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}")?;
        match (*kind, address.contains(':')) {
            ("host", _) => Ok(()),
            (_, false) => f.write_str(" raddr 0.0.0.0 rport 0"),
            (_, true) => f.write_str(" raddr :: rport 0"),
        }
    }
}

/// An IP address that can be that of a peer, or the `.local` name behind which a browser hides one.
fn address(text: &str) -> Result<String, LinkError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        return match ip.is_unspecified() || ip.is_multicast() || broadcast {
            true => Err(LinkError::Candidate),
            false => Ok(ip.to_string()),
        };
    }
    match text.strip_suffix(".local") {
        Some(name)
            if (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') =>
        {
            Ok(text.to_owned())
        }
        _ => Err(LinkError::Candidate),
    }
}

fn ice_text(text: &str, length: std::ops::RangeInclusive<usize>) -> Result<String, LinkError> {
    match length.contains(&text.len()) && text.bytes().all(is_ice_char) {
        true => Ok(text.to_owned()),
        false => Err(LinkError::Description("malformed ICE user name or password")),
    }
}

/// `ice-char` of RFC 8839.
fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Description {
        Description {
            ufrag: "abcd".into(),
            password: "0123456789abcdefABCDEF".into(),
            fingerprint: Fingerprint([0xa5; 32]),
            setup: Setup::ActPass,
            candidates: vec![
                Candidate::parse("candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host").unwrap(),
                Candidate::parse("2 1 UDP 7 2001:db8::1 4001 typ relay raddr 10.0.0.1 rport 9 ufrag x").unwrap(),
                Candidate::parse("3 1 udp 8 0d1f-77.local 4002 typ host").unwrap(),
            ],
        }
    }

    #[test]
    fn a_description_survives_its_text() {
        let text = example().to_string();
        assert!(text.len() < 800, "{} bytes", text.len());
        assert_eq!(Description::parse(&text).unwrap(), example());
        assert!(!text.contains("10.0.0.1"), "a private address is told: {text}");
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        let text = example().to_string();
        for missing in ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=setup", "m="] {
            let rest: String =
                text.lines().filter(|line| !line.starts_with(missing)).map(|l| format!("{l}\n")).collect();
            assert!(Description::parse(&rest).is_err(), "taken without {missing}");
        }
        assert!(Description::parse(&format!("{text}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n")).is_err());
        assert!(Description::parse(&format!("{text}{}", "a=x\r\n".repeat(MAX_DESCRIPTION / 4))).is_err());
        assert!(Description::parse(&text.replace("sha-256", "sha-1")).is_err());
        let many = format!("{text}{}", "a=candidate:1 1 udp 1 127.0.0.1 4 typ host\r\n".repeat(100));
        assert_eq!(Description::parse(&many).unwrap().candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn candidates_that_lead_nowhere_or_over_tcp_are_refused() {
        for bad in [
            "",
            "candidate:",
            "1 1 tcp 5 127.0.0.1 4000 typ host tcptype passive",
            "1 2 udp 5 127.0.0.1 4000 typ host",
            "1 1 udp 5 127.0.0.1 0 typ host",
            "1 1 udp 5 127.0.0.1 99999 typ host",
            "1 1 udp 5 0.0.0.0 4000 typ host",
            "1 1 udp 5 255.255.255.255 4000 typ host",
            "1 1 udp 5 224.0.0.1 4000 typ host",
            "1 1 udp 5 example.org 4000 typ host",
            "1 1 udp 5 .local 4000 typ host",
            "1 1 udp -5 127.0.0.1 4000 typ host",
            "1 1 udp 5 127.0.0.1 4000 typ other",
            "1\u{e9} 1 udp 5 127.0.0.1 4000 typ host",
        ] {
            assert!(Candidate::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert!(Candidate::parse(&"1".repeat(1000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*", line in "[ -~]{0,60}") {
            let _ = Description::parse(&text);
            let _ = Candidate::parse(&text);
            let _ = Description::parse(&format!("{}a={line}\r\na=candidate:{line}", example()));
        }

        #[test]
        fn every_fingerprint_survives_its_text(bytes: [u8; 32]) {
            prop_assert_eq!(Fingerprint(bytes).to_string().parse::<Fingerprint>().unwrap(), Fingerprint(bytes));
        }
    }
}
