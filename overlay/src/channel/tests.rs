use std::sync::Arc;

use futures::FutureExt;

use super::*;
use crate::proto::ChannelEvent;
use crate::wire::{Envelope, Label};

fn hub() -> Hub {
    Hub::new(ChannelId([1; 16]), Id::new(1), None)
}

fn messages(publisher: &Identity, first: u64, scopes: &[&str]) -> ChannelEvent {
    let label = Label { channel: ChannelId([1; 16]), stream: 1, sent: 2, first, pass: None };
    let message = |scope: &&str| Published { scope: (*scope).to_owned(), payload: "x".into() };
    let messages: Vec<Published> = scopes.iter().map(message).collect();
    ChannelEvent::Messages(Arc::new(Envelope::seal(publisher, true, label, &messages)))
}

fn read(inbox: &Inbox) -> Option<Option<Result<ChannelMessage, Lagged>>> {
    std::future::poll_fn(|cx| inbox.poll(cx)).now_or_never()
}

#[test]
fn a_subscriber_gets_the_messages_of_its_scope_with_their_numbers_and_publisher() {
    let (hub, publisher) = (hub(), Identity::generate());
    let (sports, all) = (hub.open(Some("sports".into())), hub.open(None));
    hub.deliver(messages(&publisher, 7, &["news", "sports", "news"]));
    let message = read(&sports).unwrap().unwrap().unwrap();
    assert_eq!((message.number, message.scope.as_str()), (8, "sports"));
    assert_eq!((message.publisher, message.key()), (publisher.id(), Some(publisher.public())));
    assert_eq!(read(&sports), None);
    let numbers: Vec<u64> = std::iter::from_fn(|| read(&all)).map(|item| item.unwrap().unwrap().number).collect();
    assert_eq!(numbers, [7, 8, 9]);
    hub.close();
    assert_eq!(read(&sports), Some(None));
}

#[test]
fn a_slow_subscriber_is_told_how_much_it_missed_and_where() {
    let (hub, publisher) = (hub(), Identity::generate());
    let inbox = hub.open(None);
    let count = MAX_UNREAD as u64 + 5;
    (0..count).for_each(|number| hub.deliver(messages(&publisher, number, &["a"])));
    for number in 0..MAX_UNREAD as u64 {
        assert_eq!(read(&inbox).unwrap().unwrap().unwrap().number, number);
    }
    assert_eq!(read(&inbox), Some(Some(Err(Lagged { count: 5, publisher: None }))));
    hub.deliver(messages(&publisher, count, &["a"]));
    assert_eq!(read(&inbox).unwrap().unwrap().unwrap().number, count);
    // What comes behind a gap comes behind what is told of it.
    (0..count).for_each(|number| hub.deliver(messages(&publisher, number, &["a"])));
    read(&inbox);
    hub.deliver(messages(&publisher, 9, &["a"]));
    let rest: Vec<_> = std::iter::from_fn(|| read(&inbox)).flatten().collect();
    let lost: u64 = rest.iter().map(|item| item.as_ref().map_or_else(|lagged| lagged.count, |_| 0)).sum();
    let came = rest.iter().filter(|item| item.is_ok()).count() as u64;
    assert_eq!(came + lost + 1, count + 1);
}

#[test]
fn members_come_change_and_go() {
    let hub = hub();
    let mut events = hub.presence();
    let mut hear = |from: u64, text: &'static str| {
        hub.present().hear(Id::new(from), false, &Bytes::from_static(text.as_bytes()));
        events.try_recv().ok()
    };
    let member = |name: &str| Member { id: Id::new(5), data: serde_json::json!({ "name": name }) };
    assert_eq!(hear(5, r#"{"here":{"name":"a"}}"#), Some(PresenceEvent::Joined(member("a"))));
    assert_eq!(hear(5, r#"{"here":{"name":"a"}}"#), None);
    assert_eq!(hear(5, r#"{"here":{"name":"b"}}"#), Some(PresenceEvent::Updated(member("b"))));
    assert_eq!(hear(6, "nonsense"), None);
    assert_eq!(hub.members(), [member("b")]);
    assert_eq!(hear(5, r#""gone""#), Some(PresenceEvent::Left(Id::new(5))));
    assert_eq!(hub.members(), []);
}
