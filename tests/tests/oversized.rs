//! Messages that no link carries: over the limit, text, another channel. The link that brings them ends and is counted.

use std::time::Duration;

use atoll::net::link::{Channel, MAX_MESSAGE};
use atoll_tests::eventually;
use atoll_tests::raw_link::{MAX_RAW_MESSAGE, RawLink};
use atoll_tests::scene::Scene;

const SOON: Duration = Duration::from_secs(10);

/// What a peer sends that it must not.
#[derive(Clone, Copy, Debug)]
enum Breach {
    Bytes(Channel, usize),
    /// Again and again what the WebRTC library drops by itself.
    Again(Channel, usize),
    Text(Channel),
    ThirdChannel,
}

const BREACHES: [(&str, Breach); 9] = [
    ("too_long", Breach::Bytes(Channel::Ring, MAX_MESSAGE + 1)),
    ("too_long", Breach::Bytes(Channel::Data, MAX_MESSAGE + 1)),
    ("too_long", Breach::Bytes(Channel::Ring, 200 * 1024)),
    ("too_long", Breach::Bytes(Channel::Ring, MAX_RAW_MESSAGE)),
    // On this channel a part that is lost is not sent again: longer ones may not arrive.
    ("too_long", Breach::Bytes(Channel::Data, 60 * 1024)),
    ("too_long", Breach::Again(Channel::Ring, 100 * 1024)),
    ("text", Breach::Text(Channel::Ring)),
    ("text", Breach::Text(Channel::Data)),
    ("channel", Breach::ThirdChannel),
];

impl Breach {
    async fn commit(self, link: &RawLink) {
        match self {
            Breach::Bytes(channel, length) => link.send(channel, &vec![1; length]).await,
            Breach::Again(channel, length) => {
                for _ in 0..3 {
                    link.send(channel, &vec![1; length]).await;
                }
            }
            Breach::Text(channel) => link.send_text(channel, "hello?").await,
            Breach::ThirdChannel => link.open_third_channel().await,
        }
    }
}

/// Has somebody commit each breach on a link of its own, before or after a true hello.
async fn each_breach_ends_its_link(greeted: bool) {
    let scene = Scene::start().await;
    let victim = &scene.nodes[0];
    let mut attacker = scene.attacker().await;
    let me = attacker.id();
    for (cause, breach) in BREACHES {
        let before = scene.closed_for(0, cause).await;
        let mut link = RawLink::open(&mut attacker, victim.id()).await;
        if greeted {
            link.greet(&attacker).await;
            eventually(SOON, async || match victim.peers().await.iter().any(|peer| peer.id == me) {
                true => Ok(()),
                false => Err("the link is not open".into()),
            })
            .await;
        }
        breach.commit(&link).await;
        eventually(SOON, async || match scene.closed_for(0, cause).await - before {
            1 => Ok(()),
            other => Err(format!("{breach:?} was counted {other} times as {cause}")),
        })
        .await;
        assert!(link.is_closed(SOON).await, "{breach:?}: the link is closed");
        assert!(victim.peers().await.iter().all(|peer| peer.id != me), "{breach:?}: the node still has the link");
        link.close().await;
    }
    assert_eq!(scene.closed_in_all(0).await, BREACHES.len() as u64);
    scene.assert_undisturbed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_link_carries_closes_the_link_with_a_reason() {
    each_breach_ends_its_link(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_link_carries_is_no_hello_either() {
    each_breach_ends_its_link(false).await;
}
