//! Values are read and functions called as if they were local.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::*;

#[tokio::test]
async fn values_are_read_and_functions_called_at_any_depth() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    assert_eq!(pair.peer().services().await.unwrap(), ["Echo"]);
    let remote = pair.remote("Echo").await;
    assert_eq!(remote.get::<String>("a").await.unwrap(), "information here");
    assert_eq!(remote.call::<String>("echo", ("Hello world!",)).await.unwrap(), "Hello world!");
    assert_eq!(remote.get::<i64>("deep.x").await.unwrap(), 21);
    assert_eq!(remote.call::<i64>("deep.f", (21,)).await.unwrap(), 42);
    assert_eq!(remote.at("deep").call::<i64>("f", (4,)).await.unwrap(), 8);
    let all: Value = remote.get("").await.unwrap();
    assert_eq!(all.at("deep.x"), Some(&Value::Int(21)));
    assert_eq!(all.at("b").and_then(Value::as_str), Some("more information here"));
}

#[tokio::test]
async fn a_node_uses_its_own_services_without_a_session() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let remote = pair.bob.objects.peer(pair.bob.key).service("Echo").await.unwrap();
    assert_eq!(remote.call::<String>("echo", ("to myself",)).await.unwrap(), "to myself");
    assert_eq!(remote.get::<i64>("deep.x").await.unwrap(), 21);
    assert_eq!(remote.call::<i64>("nothing", ()).await, Err(CallError::NoSuchFunction("nothing".to_owned())));
    assert!(pair.bob.sessions.all().is_empty());
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
enum Kind {
    Plain,
    Number(u64),
    Pair(i8, String),
    Fields { yes: bool },
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Clone)]
struct Everything {
    id: Id,
    kinds: Vec<Kind>,
    bytes: Bytes,
    numbers: BTreeMap<u16, f64>,
    none: Option<String>,
    some: Option<(u64, i64)>,
    text: String,
    list: Vec<u8>,
}

fn everything() -> Everything {
    Everything {
        id: Id::new(0x1234),
        kinds: vec![Kind::Plain, Kind::Number(u64::MAX), Kind::Pair(-128, "$0".to_owned()), Kind::Fields { yes: true }],
        bytes: Bytes::from_static(b"\x00\xff$bytes"),
        numbers: BTreeMap::from([(7, 0.5), (65535, -1e300)]),
        none: None,
        some: Some((u64::MAX, i64::MIN)),
        text: "$ is only a letter, ünïcode too".to_owned(),
        list: vec![0, 255],
    }
}

#[tokio::test]
async fn whatever_serde_knows_comes_back_as_it_went() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    let remote = pair.remote("Echo").await;
    let sent = everything();
    assert_eq!(remote.call::<Everything>("echo", (sent.clone(),)).await.unwrap(), sent);
    // Bytes stay bytes, lists stay lists, texts that begin with $ stay texts.
    let seen: Value = remote.call("echo", (sent,)).await.unwrap();
    assert_eq!(seen.at("bytes"), Some(&Value::Bytes(Bytes::from_static(b"\x00\xff$bytes"))));
    assert_eq!(seen.at("list"), Some(&Value::Array(vec![0.into(), 255.into()])));
    assert_eq!(seen.at("kinds.2.Pair.1").and_then(Value::as_str), Some("$0"));
}

#[tokio::test]
async fn an_object_describes_itself() {
    let pair = Pair::new();
    let stream = Function::new(|_call: Call| async { Ok::<_, Failure>(()) }).gives(Gives::Stream).doc("Counts.");
    pair.bob.objects.provide("Echo", echo().function("count", stream.parameters(["from", "to?"]))).unwrap();
    let remote = pair.remote("Echo").await;
    let shape = remote.shape();
    assert_eq!(shape.doc, "Says things back.");
    let values: Vec<_> = shape.values().into_iter().map(|(path, value)| (path, value.kind.clone())).collect();
    let expected = [("a", "text"), ("b", "text"), ("deep.x", "int")];
    assert_eq!(values, expected.map(|(path, kind)| (path.to_owned(), kind.to_owned())));
    let functions: Vec<_> = shape.functions().into_iter().map(|(path, _)| path).collect();
    assert_eq!(functions, ["count", "deep.f", "echo"]);
    let Some(Member::Function(count)) = shape.member("count") else { panic!("no function: {shape:?}") };
    assert_eq!((count.doc.as_str(), count.arity(), count.gives), ("Counts.", Some(2), Gives::Stream));
    let Some(Member::Value(b)) = shape.member("b") else { panic!("no value: {shape:?}") };
    assert_eq!(b.doc, "More of it.");
}

#[tokio::test]
async fn a_map_becomes_an_object_with_its_functions() {
    let pair = Pair::new();
    let body = Value::Map(BTreeMap::from([
        ("a".to_owned(), "information here".into()),
        ("list".to_owned(), Value::Array(vec![1.into(), "two".into()])),
        ("deep".to_owned(), Value::Map(BTreeMap::from([("f".to_owned(), Function::new(double).into())]))),
    ]));
    pair.bob.objects.provide("Body", Object::from(body)).unwrap();
    let remote = pair.remote("Body").await;
    assert_eq!(remote.call::<i64>("deep.f", (3,)).await.unwrap(), 6);
    assert_eq!(remote.get::<String>("list.1").await.unwrap(), "two");
}

#[tokio::test]
async fn scopes_are_called_at_the_owner_of_an_address() {
    let pair = Pair::new();
    pair.bob
        .objects
        .handle("chat:hello", |call: Call| async move {
            Ok::<_, ArgumentError>(format!("hello {} by {}", call.arg::<String>(0)?, call.path()))
        })
        .unwrap();
    let owner = pair.alice.objects.at(Id::new(99)).await.unwrap();
    assert_eq!(owner.call::<String>("chat:hello", ("you",)).await.unwrap(), "hello you by chat:hello");
    assert_eq!(owner.call::<Id>(NEAREST, (Id::new(5),)).await.unwrap(), pair.bob.id());
    let wrong = owner.call::<Id>(NEAREST, ("nonsense",)).await;
    assert!(matches!(wrong, Err(CallError::WrongArguments(_))), "{wrong:?}");
    let unknown = owner.call::<Value>("other", ()).await;
    assert_eq!(unknown, Err(CallError::NoSuchFunction("other".to_owned())));
    pair.bob.objects.unhandle("chat:hello");
    let gone = owner.call::<Value>("chat:hello", ("you",)).await;
    assert_eq!(gone, Err(CallError::NoSuchFunction("chat:hello".to_owned())));
}

#[tokio::test]
async fn a_service_can_be_replaced_and_withdrawn() {
    let pair = Pair::new();
    let service = pair.bob.objects.provide("Echo", echo()).unwrap();
    assert_eq!(pair.bob.objects.provide("Echo", echo()).unwrap_err(), ProvideError::Taken("Echo".to_owned()));
    let remote = pair.remote("Echo").await;
    service.replace(Object::new().value("a", 2)).unwrap();
    assert_eq!(remote.get::<i64>("a").await.unwrap(), 2);
    service.withdraw();
    assert_eq!(remote.get::<i64>("a").await, Err(CallError::NoSuchService("Echo".to_owned())));
    assert_eq!(service.set("a", 3), Err(ProvideError::Withdrawn));
    pair.bob.objects.provide("Echo", echo()).unwrap();
    assert_eq!(remote.get::<String>("a").await.unwrap(), "information here");
}

#[tokio::test]
async fn functions_may_hold_their_own_node() {
    let pair = Pair::new();
    let held = std::sync::Arc::new(());
    let (in_service, in_scope, objects) = (held.clone(), held.clone(), pair.bob.objects.clone());
    let own = objects.peer(pair.bob.id());
    let service = Object::new().function("f", move |_call: Call| {
        let (_held, own) = (in_service.clone(), own.clone());
        async move { own.services().await }
    });
    let kept = objects.provide("S", service).unwrap();
    let scope = move |_call: Call| {
        let _held = in_scope.clone();
        async { Ok::<_, Failure>(()) }
    };
    objects.handle("s", scope).unwrap();
    assert_eq!(pair.remote("S").await.call::<Vec<String>>("f", ()).await.unwrap(), ["S"]);
    objects.close();
    until("nothing is held", || match std::sync::Arc::strong_count(&held) {
        1 => Ok(()),
        count => Err(format!("{count} hold it")),
    })
    .await;
    assert_eq!(kept.set("x", 1), Err(ProvideError::Withdrawn));
    assert_eq!(pair.peer().services().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn names_of_services_and_members_are_checked() {
    let pair = Pair::new();
    for name in ["", "a.b", "a\n", &"x".repeat(MAX_NAME + 1)] {
        let refused = pair.bob.objects.provide(name, Object::new()).unwrap_err();
        assert_eq!(refused, ProvideError::Name(name.to_owned()));
        let refused = pair.bob.objects.provide("ok", Object::new().value(name, 1)).unwrap_err();
        assert_eq!(refused, ProvideError::Name(name.to_owned()));
    }
}
