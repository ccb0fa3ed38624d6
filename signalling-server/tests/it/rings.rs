//! Who founds, who joins through whom, who may speak to whom.

use std::collections::BTreeSet;

use atoll::key::Identity;
use atoll::signalling::{
    ErrorCode, MAX_MEMBERS, RelayFrom, Role, ServerMessage, Status, Undelivered, UndeliveredReason,
};
use futures::future::join_all;

use crate::support::{TestServer, accept, soon};

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_simultaneous_first_comers_exactly_one_founds() {
    let server = TestServer::start().await;
    let joined = join_all((0..50).map(|_| server.join("main"))).await;
    let founders: Vec<_> = joined.iter().filter(|(_, welcome)| welcome.list.found).map(|(_, w)| w.id).collect();
    let [founder] = founders[..] else { panic!("{} were told to found the ring", founders.len()) };
    for (_, welcome) in joined.iter().filter(|(_, welcome)| welcome.id != founder) {
        let named: Vec<_> = welcome.list.members.iter().map(|member| member.id).collect();
        assert_eq!(named, [founder], "{} was told to join through others than the founder", welcome.id);
    }
}

#[tokio::test]
async fn a_founder_that_dies_before_it_is_a_member_is_followed_by_another() {
    let server = TestServer::start().await;
    let (founder, welcome) = server.join("main").await;
    assert!(welcome.list.found);
    let (mut second, _) = server.join("main").await;
    let (mut third, _) = server.join("main").await;
    drop(founder);
    let next = async { while second.find_members().await != (true, vec![]) {} };
    soon("another designation", next).await;
    let (found, through) = third.find_members().await;
    assert!(!found && through.len() == 1 && through[0] != welcome.id, "{through:?}");
}

#[tokio::test]
async fn newcomers_are_told_a_handful_of_members_and_a_leaf_founds_nothing() {
    let server = TestServer::start().await;
    let (_leaf, welcome) = server.join_as(&Identity::generate(), "main", Role::Leaf, None).await;
    assert!(!welcome.list.found && welcome.list.members.is_empty());
    let mut members = Vec::new();
    for _ in 0..MAX_MEMBERS + 4 {
        let (mut raw, welcome) = server.join("main").await;
        raw.becomes_member().await;
        members.push((raw, welcome.id));
    }
    let ids: BTreeSet<_> = members.iter().map(|(_, id)| *id).collect();
    let (_newcomer, welcome) = server.join("main").await;
    let named: BTreeSet<_> = welcome.list.members.iter().map(|member| member.id).collect();
    assert!(named.len() == MAX_MEMBERS && named.is_subset(&ids), "{named:?}");
    let (raw, id) = &mut members[0];
    let (_, others) = raw.find_members().await;
    assert!(others.len() == MAX_MEMBERS && !others.contains(id), "{others:?}");
}

#[tokio::test]
async fn messages_are_relayed_within_a_network_and_not_out_of_it() {
    let server = TestServer::start().await;
    let (mut alice, alices) = server.join("one").await;
    let (mut bob, bobs) = server.join("one").await;
    let (mut carol, carols) = server.join("two").await;
    alice.relay(bobs.id, &accept(7)).await;
    let ServerMessage::Relay(RelayFrom { from, payload }) = bob.next().await else { panic!("no relay") };
    assert_eq!((from, payload.read()), (alices.id, Some(accept(7))));
    alice.relay(carols.id, &accept(8)).await;
    let failed = Undelivered { to: carols.id, reason: UndeliveredReason::NotHere };
    assert_eq!(alice.next().await, ServerMessage::Undeliverable(failed));
    carol.still_works().await;
    assert_eq!(server.metric("atoll_signalling_messages_undelivered_total{reason=\"not-here\"}").await, 1);
}

#[tokio::test]
async fn the_same_key_again_replaces_the_older_connection() {
    let server = TestServer::start().await;
    let identity = Identity::generate();
    let (mut old, _) = server.join_as(&identity, "main", Role::Member, None).await;
    let (mut new, _) = server.join_as(&identity, "main", Role::Member, None).await;
    old.is_closed_for(ErrorCode::Replaced).await;
    new.still_works().await;
    let (mut other, _) = server.join("main").await;
    other.relay(identity.id(), &accept(1)).await;
    assert!(matches!(new.next().await, ServerMessage::Relay(_)));
}

#[tokio::test]
async fn a_member_that_comes_back_says_so_and_newcomers_join_through_it() {
    let server = TestServer::start().await;
    let member = Status { member: true, ..Status::default() };
    let identity = Identity::generate();
    let (_back, welcome) = server.join_as(&identity, "main", Role::Member, Some(member)).await;
    assert!(!welcome.list.found);
    let (_new, welcome) = server.join("main").await;
    assert_eq!(welcome.list.members.iter().map(|member| member.id).collect::<Vec<_>>(), [identity.id()]);
}
