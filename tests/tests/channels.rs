//! Channels among real nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll::channel::{Channel, ChannelError, ChannelOptions, PresenceEvent, Subscription};
use atoll::{Id, Node};
use atoll_tests::{TestServer, await_one_ring};

const PATIENCE: Duration = Duration::from_secs(60);

async fn ring(server: &TestServer, count: usize, links: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| server.node().max_links(links).spawn().expect("a node")).collect();
    await_one_ring(&nodes, PATIENCE).await.expect("one ring");
    nodes
}

async fn join_all(nodes: &[Node], options: &ChannelOptions) -> Vec<Channel> {
    let joins = nodes.iter().map(|node| node.join(options.clone()));
    futures::future::try_join_all(joins).await.expect("all join")
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} takes too long"),
    }
}

/// The payloads of the next messages, by publisher.
async fn next(subscription: &mut Subscription, count: usize) -> BTreeMap<Id, Vec<String>> {
    let mut got = BTreeMap::<Id, Vec<String>>::new();
    for _ in 0..count {
        let message = within("a message", subscription.recv()).await.expect("an open channel").expect("nothing lost");
        got.entry(message.publisher).or_default().push(String::from_utf8_lossy(&message.payload).into());
    }
    got
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_to_all_of_sixteen_nodes_in_their_order_and_to_nobody_who_has_left() {
    let server = TestServer::start().await;
    let nodes = ring(&server, 16, 8).await;
    let channels = join_all(&nodes, &"news".into()).await;
    let mut readers: Vec<Subscription> = channels.iter().map(|channel| channel.subscribe("a")).collect();
    let texts: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for text in &texts {
        channels[3].publish("a", text.clone()).await.unwrap();
        channels[9].publish("a", text.clone()).await.unwrap();
        channels[9].publish("b", "not for these").await.unwrap();
    }
    for reader in &mut readers {
        let got = next(reader, 100).await;
        assert_eq!(got[&nodes[3].id()], texts);
        assert_eq!(got[&nodes[9].id()], texts);
    }
    let mut channels = channels.into_iter();
    let (first, second) = (channels.next().unwrap(), channels.next().unwrap());
    first.leave().await;
    assert_eq!(within("the end", readers[0].recv()).await, None);
    second.publish("a", "later").await.unwrap();
    assert_eq!(next(&mut readers[5], 1).await[&nodes[1].id()], ["later"]);
    // Who joins anew gets what comes then.
    let again = nodes[0].join("news").await.unwrap();
    let mut reader = again.subscribe_all();
    second.publish("a", "latest").await.unwrap();
    assert_eq!(next(&mut reader, 1).await[&nodes[1].id()], ["latest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_channel_is_for_those_who_know_its_secret() {
    let server = TestServer::start().await;
    let nodes = ring(&server, 6, 8).await;
    let ours = ChannelOptions::new("ours").secret("a secret of many random bytes");
    let channels = join_all(&nodes[..4], &ours).await;
    let mut readers: Vec<Subscription> = channels.iter().map(|channel| channel.subscribe("a")).collect();
    channels[2].publish("a", "for us").await.unwrap();
    for reader in &mut readers {
        assert_eq!(next(reader, 1).await[&nodes[2].id()], ["for us"]);
    }
    // Another secret is another channel, in which nobody else is.
    let theirs = nodes[5].join(ChannelOptions::new("ours").secret("another secret of many bytes")).await.unwrap();
    assert_ne!(theirs.id(), channels[0].id());
    let short = nodes[5].join(ChannelOptions::new("ours").secret("short")).await;
    assert_eq!(short.unwrap_err(), ChannelError::Secret);
    let large = channels[0].publish("a", vec![0; atoll::channel::MAX_PAYLOAD]).await;
    assert_eq!(large, Err(ChannelError::TooLarge));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_see_each_other_with_their_data_until_they_leave() {
    let server = TestServer::start().await;
    let nodes = ring(&server, 4, 8).await;
    let mut channels = join_all(&nodes, &"lobby".into()).await;
    let mut events = channels[0].presence();
    for (number, channel) in channels.iter().enumerate() {
        channel.announce(serde_json::json!({ "number": number })).await.unwrap();
    }
    let everybody = async {
        for channel in &channels {
            let mut events = channel.presence();
            while channel.members().len() < nodes.len() {
                events.recv().await.unwrap();
            }
        }
    };
    within("the members", everybody).await;
    let data = channels[1].members().into_iter().find(|member| member.id == nodes[2].id()).unwrap().data;
    assert_eq!(data, serde_json::json!({ "number": 2 }));
    channels.remove(2).leave().await;
    let left = async { while events.recv().await.unwrap() != PresenceEvent::Left(nodes[2].id()) {} };
    within("the farewell", left).await;
    assert!(channels[0].announce(serde_json::json!("x".repeat(2000))).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_let_go_and_joined_again_at_once_is_joined() {
    let server = TestServer::start().await;
    let nodes = ring(&server, 1, 8).await;
    for number in 0..100 {
        // Dropped with the last that holds it, while nobody waits for the node to leave.
        drop(nodes[0].join("news").await.unwrap());
        let channel = nodes[0].join("news").await.unwrap();
        let mut reader = channel.subscribe_all();
        // Whatever is still on its way from the first has come by then.
        for _ in 0..3 {
            channel.publish("", number.to_string()).await.unwrap();
            assert_eq!(next(&mut reader, 1).await[&nodes[0].id()], [number.to_string()]);
        }
    }
}
