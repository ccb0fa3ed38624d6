//! Greetings over links in memory, and hellos by themselves.

use proptest::prelude::*;

use super::super::memory::MemoryNetwork;
use super::super::testing::soon;
use super::*;

type Outcome = Result<Peer, HelloError>;

/// Both ends of a link say hello, each with its own settings.
async fn greet_both(
    alice: (&Identity, &HelloSettings),
    bob: (&Identity, &HelloSettings),
    dialled: Id,
) -> (Outcome, Outcome) {
    let (mut near, mut far) = MemoryNetwork::new().pair();
    soon("hello", async {
        tokio::join!(greet(&mut near, alice.0, alice.1, Some(dialled)), greet(&mut far, bob.0, bob.1, None))
    })
    .await
}

fn test_settings() -> HelloSettings {
    HelloSettings { timeout: Duration::from_secs(2), ..HelloSettings::new("test") }
}

#[tokio::test]
async fn each_end_learns_who_the_other_is() {
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let leaf = HelloSettings { role: Role::Leaf, capabilities: 6, ..test_settings() };
    let (near, far) = greet_both((&alice, &test_settings()), (&bob, &leaf), bob.id()).await;
    let expected = Peer { key: bob.public(), id: bob.id(), role: Role::Leaf, version: 1, capabilities: 6 };
    assert_eq!(near, Ok(expected));
    assert_eq!(far.unwrap().key, alice.public());
}

#[tokio::test]
async fn somebody_else_than_was_dialled_is_refused() {
    let (alice, bob, carol) = (Identity::generate(), Identity::generate(), Identity::generate());
    let (near, _) = greet_both((&alice, &test_settings()), (&carol, &test_settings()), bob.id()).await;
    assert_eq!(near, Err(HelloError::OtherPeer { expected: bob.id(), found: carol.id() }));
}

#[tokio::test]
async fn another_network_is_refused_by_both() {
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let other = HelloSettings { network: "other".into(), ..test_settings() };
    let (near, far) = greet_both((&alice, &test_settings()), (&bob, &other), bob.id()).await;
    assert_eq!((near, far), (Err(HelloError::Network), Err(HelloError::Network)));
}

#[tokio::test]
async fn a_wrong_secret_or_none_is_refused() {
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let with = |secret: &[u8]| HelloSettings { secret: Some(secret.to_vec()), ..test_settings() };
    let (near, far) = greet_both((&alice, &with(b"right")), (&bob, &with(b"wrong")), bob.id()).await;
    assert_eq!((near, far), (Err(HelloError::Secret), Err(HelloError::Secret)));
    let (near, far) = greet_both((&alice, &with(b"right")), (&bob, &test_settings()), bob.id()).await;
    assert_eq!((near, far), (Err(HelloError::Secret), Err(HelloError::NoSecret)));
    let (near, far) = greet_both((&alice, &with(b"right")), (&bob, &with(b"right")), bob.id()).await;
    assert!(near.is_ok() && far.is_ok(), "{near:?} {far:?}");
}

#[tokio::test]
async fn a_node_of_a_later_version_is_greeted_in_the_common_one() {
    let (alice, later) = (Identity::generate(), Identity::generate());
    let settings = HelloSettings { versions: Versions { min: 1, max: 2 }, capabilities: u64::MAX, ..test_settings() };
    let (mut near, mut far) = MemoryNetwork::new().pair();
    let hello = Hello::new(&later, &settings, (far.local_fingerprint(), far.remote_fingerprint())).unwrap();
    let mut body = hello.encode();
    body.extend_from_slice(b"fields that version 1 knows nothing of");
    far.sender().try_send(Channel::Ring, BytesMut::from(&body[..])).unwrap();
    let peer = greet(&mut near, &alice, &test_settings(), Some(later.id())).await.unwrap();
    assert_eq!((peer.version, peer.capabilities), (1, u64::MAX));
    // And the later node reads the earlier one's.
    let (_, body) = soon("hello", far.recv()).await.unwrap();
    let fingerprints = (far.local_fingerprint(), far.remote_fingerprint());
    assert_eq!(Hello::decode(&body).unwrap().verify(&settings, fingerprints, None).unwrap().version, 1);
}

#[tokio::test]
async fn without_a_common_version_there_is_no_link() {
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let future = Versions { min: 2, max: 9 };
    let settings = HelloSettings { versions: future, ..test_settings() };
    let (near, _) = greet_both((&alice, &test_settings()), (&bob, &settings), bob.id()).await;
    assert_eq!(near, Err(HelloError::Version { peer: future, own: Versions::CURRENT }));
}

#[test]
fn versions_agree_on_the_highest_that_both_speak() {
    let range = |min, max| Versions { min, max };
    assert_eq!(range(1, 3).common(range(2, 9)), Some(3));
    assert_eq!(range(1, 1).common(range(2, 2)), None);
    assert_eq!(range(3, 1).common(range(1, 3)), None, "a range upside down agrees with nothing");
}

#[tokio::test]
async fn silence_garbage_and_a_closed_link_are_told_apart() {
    let alice = Identity::generate();
    let hasty = HelloSettings { timeout: Duration::from_millis(50), ..test_settings() };
    let (mut near, far) = MemoryNetwork::new().pair();
    assert_eq!(greet(&mut near, &alice, &hasty, None).await, Err(HelloError::TimedOut));
    drop(far);

    let (mut near, far) = MemoryNetwork::new().pair();
    far.sender().try_send(Channel::Ring, BytesMut::from(&b"garbage"[..])).unwrap();
    assert_eq!(greet(&mut near, &alice, &test_settings(), None).await, Err(HelloError::Malformed));

    let (mut near, far) = MemoryNetwork::new().pair();
    drop(far);
    assert_eq!(greet(&mut near, &alice, &test_settings(), None).await, Err(HelloError::Closed));
}

/// A man in the middle ends two links, one to each side, and passes the hellos on.
#[test]
fn a_hello_that_is_relayed_between_two_links_proves_nothing() {
    let bob = Identity::generate();
    let [own, others, middle] = [1, 2, 3].map(|byte| Fingerprint([byte; 32]));
    let hello = Hello::new(&bob, &test_settings(), (others, own)).unwrap();
    assert!(hello.verify(&test_settings(), (own, others), None).is_ok());
    assert_eq!(hello.verify(&test_settings(), (own, middle), None), Err(HelloError::Signature));
    // Nor does a node's own hello, sent back to it.
    assert_eq!(hello.verify(&test_settings(), (others, own), None), Err(HelloError::Signature));
}

#[test]
fn everything_that_a_hello_says_is_signed() {
    let bob = Identity::generate();
    let fingerprints = (Fingerprint([1; 32]), Fingerprint([2; 32]));
    let hello = Hello::new(&bob, &test_settings(), (fingerprints.1, fingerprints.0)).unwrap();
    let altered = [
        Hello { role: Role::Leaf, ..hello.clone() },
        Hello { network: "tesT".into(), ..hello.clone() },
        Hello { versions: Versions { min: 1, max: 2 }, ..hello.clone() },
        Hello { capabilities: 1, ..hello.clone() },
        Hello { key: Identity::generate().public(), ..hello.clone() },
    ];
    for altered in altered {
        assert_eq!(altered.verify(&test_settings(), fingerprints, None), Err(HelloError::Signature), "{altered:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Hello::decode(&bytes);
    }

    #[test]
    fn a_truncated_hello_is_malformed(end in 0_usize..160) {
        let hello = Hello::new(&Identity::generate(), &test_settings(), (Fingerprint([1; 32]), Fingerprint([2; 32]))).unwrap();
        let body = hello.encode();
        prop_assert_eq!(Hello::decode(&body).unwrap(), hello);
        prop_assert_eq!(Hello::decode(&body[..end.min(body.len() - 1)]), Err(HelloError::Malformed));
    }
}
