//! Tests that hold for links of every kind, and what they are written with.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

/// How long anything may take in a test before it counts as stuck.
pub(super) const STUCK: Duration = Duration::from_secs(20);

/// The value, unless it does not come.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(STUCK, future).await {
        Ok(value) => value,
        Err(_) => panic!("no {what} within {STUCK:?}"),
    }
}

/// Both ends of a link that `a` dials.
pub(super) async fn link(a: &Transport, b: &Transport) -> (Link, Link) {
    let (dialling, offer) = a.offer().await.unwrap();
    let (answering, answer) = b.answer(&offer).await.unwrap();
    dialling.accept(&answer).await.unwrap();
    let (near, far) = soon("link", async { tokio::join!(dialling.open(), answering.open()) }).await;
    (near.unwrap(), far.unwrap())
}

/// A frame of the connection that both ends know.
pub(super) fn frame(text: &str) -> BytesMut {
    BytesMut::from(text.as_bytes())
}

pub(super) async fn both_channels_carry_both_ways((a, b): (Transport, Transport)) {
    let (mut near, mut far) = link(&a, &b).await;
    assert_eq!(near.local_fingerprint(), far.remote_fingerprint());
    assert_eq!(far.local_fingerprint(), near.remote_fingerprint());
    for channel in Channel::ALL {
        near.sender().try_send(channel, frame("there")).unwrap();
        assert_eq!(soon("frame", far.recv()).await, Some((channel, frame("there"))));
        far.sender().try_send(channel, frame("and back")).unwrap();
        assert_eq!(soon("frame", near.recv()).await, Some((channel, frame("and back"))));
    }
    let large = BytesMut::from(&vec![7; MAX_MESSAGE][..]);
    near.sender().try_send(Channel::Ring, large.clone()).unwrap();
    assert_eq!(soon("large frame", far.recv()).await, Some((Channel::Ring, large)));
}

pub(super) async fn a_full_channel_says_so_and_later_that_it_has_room((a, b): (Transport, Transport)) {
    let (near, mut far) = link(&a, &b).await;
    let message = BytesMut::from(&[1; 1000][..]);
    let mut taken = 0;
    while near.sender().try_send(Channel::Ring, message.clone()) == Ok(()) {
        taken += 1;
        assert!(taken * 1000 <= RING_QUEUE_BYTES, "the queue takes more than its limit: {taken} frames");
    }
    assert_eq!(near.sender().try_send(Channel::Ring, message.clone()), Err(SendError::Full));
    let reader = tokio::spawn(async move {
        let mut count = 0;
        while let Some((_, bytes)) = far.recv().await {
            assert_eq!(bytes.len(), 1000, "frame {count}");
            count += 1;
        }
        count
    });
    for _ in 0..1000 {
        soon("room", near.sender().ready(Channel::Ring)).await.unwrap();
        near.sender().try_send(Channel::Ring, message.clone()).unwrap();
        taken += 1;
    }
    near.sender().close();
    assert_eq!(soon("end", reader).await.unwrap(), taken, "a reliable channel lost frames");
}

pub(super) async fn messages_over_the_limit_are_refused((a, b): (Transport, Transport)) {
    let (near, _far) = link(&a, &b).await;
    for channel in Channel::ALL {
        let large = BytesMut::from(&vec![7; MAX_MESSAGE + 1][..]);
        assert_eq!(near.sender().try_send(channel, large), Err(SendError::TooLarge));
    }
}

pub(super) async fn a_close_is_noticed_after_what_came_before((a, b): (Transport, Transport)) {
    let (near, mut far) = link(&a, &b).await;
    for i in 0..10 {
        near.sender().try_send(Channel::Ring, frame(&i.to_string())).unwrap();
    }
    near.sender().close();
    assert_eq!(near.sender().try_send(Channel::Ring, frame("late")), Err(SendError::Closed));
    for i in 0..10 {
        assert_eq!(soon("frame", far.recv()).await, Some((Channel::Ring, frame(&i.to_string()))));
    }
    assert_eq!(soon("end", far.recv()).await, None);
    assert_eq!(soon("close", far.sender().closed()).await, CloseReason::Peer);
    assert_eq!(soon("close", near.sender().closed()).await, CloseReason::Local);
    assert_eq!(far.sender().try_send(Channel::Ring, frame("late")), Err(SendError::Closed));
}

pub(super) async fn the_frames_of_many_links_flow_into_one_queue((a, b): (Transport, Transport)) {
    const LINKS: u64 = 3;
    const FRAMES: usize = 200;
    // Smaller than what comes, so that the links have to wait for it.
    let (sink, mut events) = mpsc::channel(4);
    let mut near = Vec::new();
    let mut far = Vec::new();
    for key in 0..LINKS {
        let (one, other) = link(&a, &b).await;
        one.sender().try_send(Channel::Ring, frame("before it is forwarded")).unwrap();
        far.push(other.forward(LinkKey(key), sink.clone()));
        near.push(one);
    }
    drop(sink);
    for link in &near {
        for _ in 1..FRAMES {
            link.sender().try_send(Channel::Ring, frame("after")).unwrap();
        }
        link.sender().close();
    }
    let mut frames = [0; LINKS as usize];
    let mut closed = 0;
    while let Some(event) = soon("event", events.recv()).await {
        match event {
            LinkEvent::Frame { link, channel, bytes } => {
                let first = frames[link.0 as usize] == 0;
                assert_eq!((channel, bytes == frame("before it is forwarded")), (Channel::Ring, first));
                frames[link.0 as usize] += 1;
            }
            LinkEvent::Closed { link, reason } => {
                assert_eq!((frames[link.0 as usize], reason), (FRAMES, CloseReason::Peer), "{link:?}");
                closed += 1;
            }
            LinkEvent::Writable { .. } => {}
        }
    }
    assert_eq!(closed, LINKS, "the queue ended before all links were heard to close");
}

pub(super) async fn a_link_closes_when_nobody_holds_it((a, b): (Transport, Transport)) {
    let (near, far) = link(&a, &b).await;
    drop(near);
    assert_eq!(soon("close", far.sender().closed()).await, CloseReason::Peer);

    let (near, far) = link(&a, &b).await;
    let (sink, events) = mpsc::channel(4);
    let sender = near.forward(LinkKey(1), sink);
    let copy = sender.clone();
    drop(sender);
    copy.try_send(Channel::Ring, frame("still there")).unwrap();
    drop(copy);
    drop(events);
    assert_eq!(soon("close", far.sender().closed()).await, CloseReason::Peer);
}
