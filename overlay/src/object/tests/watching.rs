//! Who watches a value is told its changes.

use super::*;

#[tokio::test]
async fn a_watcher_sees_the_value_and_then_each_change_in_order() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("S", Object::new().value("n", 0)).unwrap();
    let remote = pair.remote("S").await;
    let mut changes = remote.watch::<u32>("n").await.unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(0)));
    for number in 1..50 {
        service.set("n", number).unwrap();
        assert_eq!(soon(changes.next()).await, Some(Ok(number)));
    }
    // What does not change is not told.
    service.set("n", 49).unwrap();
    service.set("other", 1).unwrap();
    service.set("n", 50).unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(50)));
}

#[tokio::test]
async fn a_slow_watcher_gets_the_newest_and_no_backlog() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("S", Object::new().value("n", 0)).unwrap();
    let mut changes = pair.remote("S").await.watch::<u32>("n").await.unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(0)));
    for number in 1..=100_000 {
        service.set("n", number).unwrap();
    }
    assert_eq!(soon(changes.next()).await, Some(Ok(100_000)));
    service.set("n", 7).unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(7)));
}

#[tokio::test]
async fn a_whole_object_and_parts_of_values_can_be_watched() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("Echo", echo()).unwrap();
    let remote = pair.remote("Echo").await;
    let mut all = remote.watch::<Value>("").await.unwrap();
    let mut deep = remote.watch::<i64>("deep.x").await.unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().at("deep.x"), Some(&21.into()));
    assert_eq!(soon(deep.next()).await, Some(Ok(21)));
    service.set("deep.x", 22).unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().at("deep.x"), Some(&22.into()));
    assert_eq!(soon(deep.next()).await, Some(Ok(22)));
    service.set("new", Value::of(&["a", "b"]).unwrap()).unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().at("new.1"), Some(&"b".into()));
    service.set("new.1", "c").unwrap();
    assert_eq!(soon(all.next()).await.unwrap().unwrap().at("new.1"), Some(&"c".into()));
    assert_eq!(service.set("new.7", 1), Err(ProvideError::NoSuchValue("new.7".to_owned())));
    assert_eq!(service.set("echo", 1), Err(ProvideError::NoSuchValue("echo".to_owned())));
}

#[tokio::test]
async fn watching_ends_when_the_value_or_the_service_goes() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("S", Object::new().value("n", 0)).unwrap();
    let remote = pair.remote("S").await;
    let mut changes = remote.watch::<u32>("n").await.unwrap();
    let mut others = remote.watch::<Value>("").await.unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(0)));
    assert!(soon(others.next()).await.is_some());
    service.replace(Object::new().value("m", 1)).unwrap();
    assert_eq!(soon(changes.next()).await, Some(Err(CallError::NoSuchValue("n".to_owned()))));
    assert_eq!(soon(changes.next()).await, None);
    assert!(soon(others.next()).await.unwrap().is_ok());
    service.withdraw();
    assert_eq!(soon(others.next()).await, Some(Err(CallError::Cancelled)));
}

#[tokio::test]
async fn a_node_watches_its_own_values() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("S", Object::new().value("n", 0)).unwrap();
    let mut changes = pair.bob.objects.peer(pair.bob.id()).remote("S").watch::<u32>("n").await.unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(0)));
    service.set("n", 1).unwrap();
    assert_eq!(soon(changes.next()).await, Some(Ok(1)));
}
