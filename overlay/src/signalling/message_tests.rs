use proptest::prelude::*;

use super::*;

fn nonce() -> Hex<NONCE_BYTES> {
    Hex([7; NONCE_BYTES])
}

fn one_of_each_from_a_node() -> Vec<NodeMessage> {
    let status =
        Status { member: true, predecessor: Some(Id::new(1)), successors: vec![Id::new(2)], links: vec![Id::MAX] };
    let identity = Identity::generate();
    let register = Register::sign(&identity, &nonce(), "main", Role::Member, "127.0.0.1:9000", Some(status.clone()));
    vec![
        NodeMessage::Register(Box::new(register)),
        NodeMessage::FindMembers,
        NodeMessage::Status(status),
        NodeMessage::Relay(RelayTo { to: Id::new(3), payload: Payload::of(&["any", "thing"]).unwrap() }),
    ]
}

fn one_of_each_from_a_server() -> Vec<ServerMessage> {
    let list = MemberList { found: false, members: vec![Member { id: Id::new(9) }] };
    let ice = IceServer { urls: vec!["stun:127.0.0.1:3478".into()], username: None, credential: None };
    let limits = Limits { message_bytes: 65536, messages_per_second: 50, burst: 200 };
    vec![
        ServerMessage::Challenge(Challenge { versions: vec![1], nonce: nonce(), server: "sig-server".into() }),
        ServerMessage::Welcome(Box::new(Welcome { id: Id::MAX, ice_servers: vec![ice], list: list.clone(), limits })),
        ServerMessage::Members(list),
        ServerMessage::Relay(RelayFrom { from: Id::new(3), payload: Payload::of(&1).unwrap() }),
        ServerMessage::Undeliverable(Undelivered { to: Id::new(3), reason: UndeliveredReason::NotHere }),
        ServerMessage::Error(ServerError { code: ErrorCode::IdHeld, message: "taken".into() }),
    ]
}

#[test]
fn every_message_survives_its_encoding() {
    for message in one_of_each_from_a_node() {
        assert_eq!(NodeMessage::parse(&message.to_json()), Ok(message));
    }
    for message in one_of_each_from_a_server() {
        assert_eq!(ServerMessage::parse(&message.to_json()), Ok(message));
    }
}

#[test]
fn messages_look_as_the_protocol_page_says() {
    assert_eq!(NodeMessage::FindMembers.to_json(), r#"{"type":"find-members"}"#);
    let relay = RelayTo { to: Id::new(3), payload: Payload::of(&["a"]).unwrap() };
    assert_eq!(NodeMessage::Relay(relay).to_json(), r#"{"type":"relay","to":"000000000003","payload":["a"]}"#);
    let welcome = one_of_each_from_a_server()[1].to_json();
    assert_eq!(
        welcome,
        r#"{"type":"welcome","id":"ffffffffffff","ice_servers":[{"urls":["stun:127.0.0.1:3478"]}],"found":false,"members":[{"id":"000000000009"}],"limits":{"message_bytes":65536,"messages_per_second":50,"burst":200}}"#
    );
}

#[test]
fn a_step_of_dialling_is_relayed_and_one_that_is_too_large_is_none() {
    let arrives = |step: Step| {
        let dial = Dial { attempt: 7, step };
        let relay = RelayFrom { from: Id::new(1), payload: RelayTo::dial(Id::new(2), &dial).payload };
        let read = relay.dial();
        assert!(read.is_none() || read.as_ref() == Some(&dial), "{read:?}");
        read.is_some()
    };
    let refuse = |n: usize| Step::Refuse { reason: crate::wire::Refusal::Full, alternatives: vec![Id::MAX; n] };
    assert!(arrives(refuse(MAX_ALTERNATIVES)) && !arrives(refuse(MAX_ALTERNATIVES + 1)));
    let describe = |n: usize| Step::Describe("\u{1}".repeat(n));
    assert!(arrives(describe(MAX_DESCRIPTION)) && !arrives(describe(MAX_DESCRIPTION + 1)));
    let other = RelayFrom { from: Id::new(1), payload: Payload::of(&["any"]).unwrap() };
    assert_eq!(other.dial(), None);
    let relay = RelayTo::dial(Id::new(3), &Dial { attempt: 7, step: Step::Describe("v=0".into()) });
    let expected = r#"{"type":"relay","to":"000000000003","payload":{"attempt":7,"step":{"describe":"v=0"}}}"#;
    assert_eq!(NodeMessage::Relay(relay).to_json(), expected);
}

#[test]
fn every_error_code_is_written_as_its_name() {
    for code in [ErrorCode::BadMessage, ErrorCode::HandshakeTimeout, ErrorCode::IdHeld, ErrorCode::TooManyNetworks] {
        assert_eq!(serde_json::to_string(&code).unwrap(), format!("{:?}", code.as_str()));
    }
}

#[test]
fn a_registration_holds_for_one_challenge_network_role_and_host() {
    let register = Register::sign(&Identity::generate(), &nonce(), "main", Role::Member, "a.example", None);
    assert_eq!(register.verify(&nonce()), Ok(()));
    assert!(register.verify(&Hex([8; NONCE_BYTES])).is_err());
    assert!(Register { network: "other".into(), ..register.clone() }.verify(&nonce()).is_err());
    assert!(Register { role: Role::Leaf, ..register.clone() }.verify(&nonce()).is_err());
    assert!(Register { host: "b.example".into(), ..register.clone() }.verify(&nonce()).is_err());
    assert!(Register { key: Identity::generate().public(), ..register }.verify(&nonce()).is_err());
}

#[test]
fn what_a_later_version_adds_is_ignored_and_what_it_names_is_told() {
    let members = r#"{"color":"red","members":[{"id":"000000000001","age":3}],"found":false,"type":"members"}"#;
    assert!(ServerMessage::parse(members).is_ok());
    let error = ServerMessage::parse(r#"{"type":"error","code":"too-purple","message":"no"}"#);
    assert_eq!(error, Ok(ServerMessage::Error(ServerError { code: ErrorCode::Other, message: "no".into() })));
    assert_eq!(NodeMessage::parse(r#"{"type":"sing"}"#), Err(ParseError::UnknownType("sing".into())));
}

#[test]
fn a_message_at_the_limit_is_read_and_one_above_is_not() {
    let padded = |bytes: usize| {
        let frame = r#"{"type":"find-members","pad":""}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    assert_eq!(NodeMessage::parse(&padded(MAX_MESSAGE_BYTES)), Ok(NodeMessage::FindMembers));
    assert_eq!(NodeMessage::parse(&padded(MAX_MESSAGE_BYTES + 1)), Err(ParseError::TooLarge(MAX_MESSAGE_BYTES + 1)));
    let payload = Payload::of(&"x".repeat(MAX_PAYLOAD_BYTES)).unwrap();
    let relay = NodeMessage::Relay(RelayTo { to: Id::MAX, payload }).to_json();
    assert_eq!(NodeMessage::parse(&relay), Err(ParseError::Field("payload")));
}

#[test]
fn deep_nesting_is_refused_before_it_is_parsed() {
    let nested = |depth: usize| {
        let inside = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"type":"relay","to":"000000000003","payload":{inside}}}"#)
    };
    assert!(NodeMessage::parse(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(NodeMessage::parse(&nested(MAX_DEPTH)), Err(ParseError::TooDeep));
    assert_eq!(NodeMessage::parse(&"[".repeat(60_000)), Err(ParseError::TooDeep));
    let brackets_in_text = format!(r#"{{"type":"find-members","x":"{}\"["}}"#, "[".repeat(100));
    assert_eq!(NodeMessage::parse(&brackets_in_text), Ok(NodeMessage::FindMembers));
}

#[test]
fn lists_longer_than_their_limit_are_refused() {
    let status = Status { links: vec![Id::MAX; MAX_LINKS + 1], ..Status::default() };
    assert_eq!(NodeMessage::parse(&NodeMessage::Status(status).to_json()), Err(ParseError::Field("links")));
    let list = MemberList { found: false, members: vec![Member { id: Id::MAX }; MAX_MEMBERS + 1] };
    assert_eq!(ServerMessage::parse(&ServerMessage::Members(list).to_json()), Err(ParseError::Field("members")));
    for network in ["", "white space", "ümlaut", &"x".repeat(MAX_NETWORK_CHARS + 1)] {
        assert!(!is_network_name(network), "{network:?}");
    }
}

#[test]
fn text_from_a_server_cannot_flood_or_steer_a_terminal() {
    let message = format!("\u{1b}[2J{}", "ä".repeat(MAX_TEXT_BYTES));
    let sent = ServerMessage::Error(ServerError { code: ErrorCode::Idle, message }).to_json();
    let Ok(ServerMessage::Error(read)) = ServerMessage::parse(&sent) else { panic!("an error is not read") };
    assert!(read.message.len() <= MAX_TEXT_BYTES && !read.message.contains('\u{1b}'), "{}", read.message);
}

fn any_valid() -> impl Strategy<Value = String> {
    let node = one_of_each_from_a_node().into_iter().map(|message| message.to_json());
    let server = one_of_each_from_a_server().into_iter().map(|message| message.to_json());
    prop::sample::select(node.chain(server).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn random_text_never_panics(text in ".{0,400}") {
        let _ = NodeMessage::parse(&text);
        let _ = ServerMessage::parse(&text);
    }

    #[test]
    fn random_bytes_in_a_valid_message_never_panic(
        text in any_valid(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = text.into_bytes();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let text = String::from_utf8_lossy(&bytes);
        let _ = NodeMessage::parse(&text);
        let _ = ServerMessage::parse(&text);
    }

    #[test]
    fn a_truncated_message_is_never_a_message(text in any_valid(), at in any::<prop::sample::Index>()) {
        let cut = text[..at.index(text.len())].to_owned();
        prop_assert!(NodeMessage::parse(&cut).is_err() && ServerMessage::parse(&cut).is_err(), "{}", cut);
    }

    #[test]
    fn what_is_read_is_written_the_same(text in any_valid()) {
        if let Ok(message) = NodeMessage::parse(&text) {
            prop_assert_eq!(message.to_json(), text);
        } else {
            prop_assert_eq!(ServerMessage::parse(&text).unwrap().to_json(), text);
        }
    }
}
