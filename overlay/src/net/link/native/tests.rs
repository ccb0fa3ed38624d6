//! Links over real sockets, on loopback.

use std::net::Ipv4Addr;

use tokio::runtime::Handle;

use super::super::hello::{HelloError, HelloSettings, greet};
use super::super::testing::{self, frame, link, soon};
use super::super::{CloseReason, Fingerprint, MAX_CANDIDATES, SendError};
use super::*;
use crate::ice::IceServer;
use crate::key::Identity;

fn local() -> LinkSettings {
    LinkSettings { bind: vec![Ipv4Addr::LOCALHOST.into()], ..Default::default() }
}

fn pair() -> (Transport, Transport) {
    (transport(local()).unwrap(), transport(local()).unwrap())
}

#[tokio::test]
async fn both_channels_carry_both_ways() {
    testing::both_channels_carry_both_ways(pair()).await;
}

#[tokio::test]
async fn a_full_channel_says_so_and_later_that_it_has_room() {
    testing::a_full_channel_says_so_and_later_that_it_has_room(pair()).await;
}

#[tokio::test]
async fn messages_over_the_limit_are_refused() {
    testing::messages_over_the_limit_are_refused(pair()).await;
}

#[tokio::test]
async fn a_close_is_noticed_after_what_came_before() {
    testing::a_close_is_noticed_after_what_came_before(pair()).await;
}

#[tokio::test]
async fn the_frames_of_many_links_flow_into_one_queue() {
    testing::the_frames_of_many_links_flow_into_one_queue(pair()).await;
}

#[tokio::test]
async fn a_link_closes_when_nobody_holds_it() {
    testing::a_link_closes_when_nobody_holds_it(pair()).await;
}

#[tokio::test]
async fn an_offer_on_loopback_is_small_and_complete() {
    let (a, b) = pair();
    let (dialling, offer) = a.offer().await.unwrap();
    assert!(offer.len() < 600, "{} bytes: {offer}", offer.len());
    assert!(offer.contains("127.0.0.1"), "{offer}");
    assert_eq!(soon("last candidate", dialling.next_candidate()).await, None);
    let (_answering, answer) = b.answer(&offer).await.unwrap();
    assert!(answer.len() < 600, "{} bytes: {answer}", answer.len());
}

#[tokio::test]
async fn candidates_may_travel_apart_from_the_descriptions_and_before_the_answer() {
    let (a, b) = pair();
    let (dialling, offer) = a.offer().await.unwrap();
    let (bare, candidates) = without_candidates(&offer);
    let (answering, answer) = b.answer(&bare).await.unwrap();
    let (answer, later) = without_candidates(&answer);
    for candidate in later {
        dialling.accept(&candidate).await.unwrap();
    }
    dialling.accept(&answer).await.unwrap();
    for candidate in candidates {
        answering.accept(&candidate).await.unwrap();
    }
    let (near, far) = soon("link", async { tokio::join!(dialling.open(), answering.open()) }).await;
    assert!(near.is_ok() && far.is_ok(), "{near:?} {far:?}");
}

#[tokio::test]
async fn what_comes_from_strangers_is_refused_and_disturbs_nothing() {
    let (a, b) = pair();
    let (dialling, offer) = a.offer().await.unwrap();
    for garbage in
        ["", "v=0", "candidate:", "\0\0\0", "{\"type\":\"offer\"}", &"a=".repeat(100_000), &offer[..offer.len() / 2]]
    {
        assert!(soon("refusal", b.answer(garbage)).await.is_err(), "{garbage:.40?} was taken for an offer");
        assert!(soon("refusal", dialling.accept(garbage)).await.is_err(), "{garbage:.40?} was taken for an answer");
    }
    for candidate in
        ["candidate:1 1 tcp 1 127.0.0.1 9 typ host", "candidate:x", "candidate:1 1 udp 1 0.0.0.0 9 typ host"]
    {
        assert_eq!(dialling.accept(candidate).await, Err(LinkError::Candidate));
    }
    assert!(dialling.accept(&offer).await.is_err(), "an offer was taken for an answer");
    let (answering, answer) = b.answer(&offer).await.unwrap();
    assert_eq!(answering.accept(&answer).await, Err(LinkError::Unexpected));
    dialling.accept(&answer).await.unwrap();
    assert_eq!(dialling.accept(&answer).await, Err(LinkError::Unexpected));
    let (near, far) = soon("link", async { tokio::join!(dialling.open(), answering.open()) }).await;
    assert!(near.is_ok() && far.is_ok(), "{near:?} {far:?}");
}

#[tokio::test]
async fn an_endless_flood_of_candidates_is_cut_off() {
    let (a, b) = pair();
    let (dialling, offer) = a.offer().await.unwrap();
    let mut taken = 0;
    while dialling.accept(&format!("candidate:1 1 udp 1 127.0.0.1 {} typ host", 1 + taken)).await.is_ok() {
        taken += 1;
        assert!(taken <= MAX_CANDIDATES, "{taken} candidates were taken");
    }
    let (answering, answer) = b.answer(&offer).await.unwrap();
    dialling.accept(&answer).await.unwrap();
    let (near, far) = soon("link", async { tokio::join!(dialling.open(), answering.open()) }).await;
    assert!(near.is_ok() && far.is_ok(), "{near:?} {far:?}");
}

#[tokio::test]
async fn a_swapped_fingerprint_gets_no_link() {
    let settings = LinkSettings { open_timeout: Duration::from_secs(3), ..local() };
    let (a, b) = (transport(settings.clone()).unwrap(), transport(settings).unwrap());
    let (dialling, offer) = a.offer().await.unwrap();
    let (answering, answer) = b.answer(&offer).await.unwrap();
    let real = answer.split("sha-256 ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let forged = answer.replace(real, &Fingerprint([7; 32]).to_string());
    dialling.accept(&forged).await.unwrap();
    let (near, far) = soon("failure", async { tokio::join!(dialling.open(), answering.open()) }).await;
    assert!(near.is_err(), "a link to an unknown certificate");
    // The answering end, which was not lied to, may have believed in the link, but not past its hello.
    if let Ok(mut far) = far {
        let hello = HelloSettings { timeout: Duration::from_secs(2), ..HelloSettings::new("test") };
        let error = greet(&mut far, &Identity::generate(), &hello, None).await.unwrap_err();
        assert!(matches!(error, HelloError::Closed | HelloError::TimedOut), "{error:?}");
    }
}

/// The answering end is the SCTP client, and knows last that the link is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_answering_end_sends_the_moment_it_is_open_reaches_the_other() {
    let (a, b) = pair();
    for round in 0..40 {
        let (dialling, offer) = a.offer().await.unwrap();
        let (answering, answer) = b.answer(&offer).await.unwrap();
        let far = tokio::spawn(async move {
            let far = answering.open().await.unwrap();
            far.sender().try_send(Channel::Ring, frame("early")).unwrap();
            far
        });
        let near = tokio::spawn(async move {
            dialling.accept(&answer).await.unwrap();
            dialling.open().await.unwrap().recv().await
        });
        let received = soon("frame", near).await.unwrap();
        assert_eq!(received, Some((Channel::Ring, frame("early"))), "round {round}");
        drop(far.await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_greet_each_other_at_once_every_time() {
    let (a, b) = pair();
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let settings = HelloSettings::new("test");
    for round in 0..40 {
        let (dialling, offer) = a.offer().await.unwrap();
        let (answering, answer) = b.answer(&offer).await.unwrap();
        dialling.accept(&answer).await.unwrap();
        let near = async { greet(&mut dialling.open().await.unwrap(), &alice, &settings, Some(bob.id())).await };
        let far = async { greet(&mut answering.open().await.unwrap(), &bob, &settings, Some(alice.id())).await };
        let (near, far) = soon("hello", async { tokio::join!(near, far) }).await;
        assert_eq!(
            (near.map(|peer| peer.id), far.map(|peer| peer.id)),
            (Ok(bob.id()), Ok(alice.id())),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn two_nodes_greet_each_other_over_a_real_link() {
    let (a, b) = pair();
    let (mut near, mut far) = link(&a, &b).await;
    let (alice, bob) = (Identity::generate(), Identity::generate());
    let settings = HelloSettings { secret: Some(b"shared".to_vec()), ..HelloSettings::new("test") };
    let (seen, other) = soon("hello", async {
        tokio::join!(greet(&mut near, &alice, &settings, Some(bob.id())), greet(&mut far, &bob, &settings, None))
    })
    .await;
    assert_eq!(seen.unwrap().key, bob.public());
    assert_eq!(other.unwrap().key, alice.public());
}

#[tokio::test]
async fn an_offer_that_nobody_answers_ends_in_time() {
    let settings = LinkSettings { open_timeout: Duration::from_millis(100), ..local() };
    let (opening, _) = transport(settings).unwrap().offer().await.unwrap();
    assert!(matches!(soon("time-out", opening.open()).await, Err(LinkError::TimedOut(_))));
}

#[tokio::test]
async fn dead_servers_do_not_hold_up_a_link() {
    // Bound, and silent for ever.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let turn = IceServer {
        username: Some("me".into()),
        credential: Some("secret".into()),
        ..IceServer::new(format!("turn:{address}?transport=udp"))
    };
    let ice_servers = vec![IceServer::new(format!("stun:{address}")), turn];
    let settings = LinkSettings { ice_servers, ..local() };
    let (a, b) = (transport(settings.clone()).unwrap(), transport(settings).unwrap());
    let begun = std::time::Instant::now();
    let (near, far) = link(&a, &b).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "dead servers held the link up for {:?}", begun.elapsed());
    drop((near, far));
}

#[tokio::test]
async fn an_address_that_is_not_ours_is_an_error_at_once() {
    let settings = LinkSettings { bind: vec!["192.0.2.1".parse().unwrap()], ..Default::default() };
    let error = soon("error", transport(settings).unwrap().offer()).await.unwrap_err();
    assert!(matches!(error, LinkError::System(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_lost() {
    let settings = LinkSettings { silence: Duration::from_millis(1500), ..local() };
    let a = transport(settings).unwrap();
    // The peer's whole runtime stops, as when its process is killed: nothing says goodbye.
    let (offers, answers) = (tokio::sync::oneshot::channel::<String>(), tokio::sync::oneshot::channel::<String>());
    let (offer_to, offer_from) = offers;
    let (answer_to, answer_from) = answers;
    let peer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let b = transport(local()).unwrap();
            let (answering, answer) = b.answer(&offer_from.await.unwrap()).await.unwrap();
            answer_to.send(answer).unwrap();
            let mut far = answering.open().await.unwrap();
            far.sender().try_send(Channel::Ring, frame("open")).unwrap();
            assert!(far.recv().await.is_some());
            std::mem::forget(far);
        });
    });
    let (dialling, offer) = a.offer().await.unwrap();
    offer_to.send(offer).unwrap();
    dialling.accept(&answer_from.await.unwrap()).await.unwrap();
    let mut near = soon("link", dialling.open()).await.unwrap();
    assert!(soon("frame", near.recv()).await.is_some());
    near.sender().try_send(Channel::Ring, frame("last words")).unwrap();
    assert_eq!(soon("loss", near.sender().closed()).await, CloseReason::Lost);
    assert_eq!(near.sender().try_send(Channel::Ring, frame("hello?")), Err(SendError::Closed));
    peer.join().unwrap();
}

#[tokio::test]
async fn opens_and_closes_leave_nothing_behind() {
    const ROUNDS: usize = 200;
    const AT_ONCE: usize = 4;
    let (a, b) = pair();
    let mut before = None;
    for round in 0..ROUNDS / AT_ONCE {
        let mut openings = tokio::task::JoinSet::new();
        for i in 0..AT_ONCE {
            let (a, b) = (a.clone(), b.clone());
            openings.spawn(async move {
                // Every fourth is given up before it is open.
                if i == 3 {
                    let (_, offer) = a.offer().await.unwrap();
                    drop(b.answer(&offer).await.unwrap());
                    return;
                }
                let (near, far) = link(&a, &b).await;
                drop(near);
                soon("close", far.sender().closed()).await;
            });
        }
        openings.join_all().await;
        if round == 2 {
            before = Some(resources().await);
        }
    }
    let (sockets, tasks) = before.unwrap();
    let (sockets_now, tasks_now) = resources().await;
    assert!(sockets_now <= sockets + 2, "{sockets} file descriptors became {sockets_now}");
    assert!(tasks_now <= tasks + 2, "{tasks} tasks became {tasks_now}");
}

/// File descriptors of this process that are of this test's thread, and tasks; both once they no longer fall.
async fn resources() -> (usize, usize) {
    let now = || {
        let sockets = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        (sockets, Handle::current().metrics().num_alive_tasks())
    };
    let mut least = now();
    let mut unchanged = 0;
    while unchanged < 10 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seen = now();
        unchanged = if seen.0 < least.0 || seen.1 < least.1 { 0 } else { unchanged + 1 };
        least = (least.0.min(seen.0), least.1.min(seen.1));
    }
    least
}

fn without_candidates(description: &str) -> (String, Vec<String>) {
    let (candidates, rest): (Vec<&str>, Vec<&str>) =
        description.lines().partition(|line| line.starts_with("a=candidate:"));
    let rest = rest.into_iter().map(|line| format!("{line}\r\n")).collect();
    (rest, candidates.into_iter().map(|line| line.trim_start_matches("a=").to_owned()).collect())
}
