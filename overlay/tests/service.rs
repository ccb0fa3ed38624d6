//! The attribute macro: one definition, a typed client and a provider.
#![cfg(feature = "net")]

use std::collections::BTreeMap;

use atoll::net::session::Settings;
use atoll::net::session::memory::{Conditions, MemoryRing};
use atoll::object::{
    Call, CallError, Caller, Failure, Function, FunctionShape, Gives, Items, Limits, Member, Object, Objects, Reply,
    Ring, Value,
};
use atoll::{Id, Identity};
use futures::future::BoxFuture;
use futures::{TryStreamExt, stream};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
    tags: BTreeMap<String, Option<u64>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0} is negative")]
struct NegativeError(f64);

/// A little of everything.
#[atoll::service]
trait Everything {
    /// Says it back.
    async fn echo(&self, m: String) -> String;
    async fn nothing(&self);
    async fn mirror(&self, point: Point, r#type: Option<String>) -> Point;
    /// The square root,
    /// if there is one.
    async fn root(&self, x: f64) -> Result<f64, NegativeError>;
    async fn refuse(&self) -> Result<(), Failure>;
    async fn count(&self, to: u32) -> Items<u32>;
    async fn count_from(&self, from: u32, to: u32) -> Result<Items<u32>, Failure>;
    async fn bytes(&self, count: usize) -> Reply;
    async fn whoami(&self, caller: &Caller) -> String;
    async fn is_it(&self, id: Id, caller: Caller) -> bool;
    async fn apply(&self, f: Function, to: i64) -> Result<i64, CallError>;
}

struct Provider {
    greeting: String,
}

impl Everything for Provider {
    async fn echo(&self, m: String) -> String {
        format!("{}{m}", self.greeting)
    }

    async fn nothing(&self) {}

    async fn mirror(&self, point: Point, r#type: Option<String>) -> Point {
        Point { x: -point.x, tags: r#type.map(|name| (name, None)).into_iter().collect(), ..point }
    }

    async fn root(&self, x: f64) -> Result<f64, NegativeError> {
        if x < 0.0 { Err(NegativeError(x)) } else { Ok(x.sqrt()) }
    }

    async fn refuse(&self) -> Result<(), Failure> {
        Err(Failure::new("never").with(7))
    }

    async fn count(&self, to: u32) -> Items<u32> {
        Items::new(stream::iter(0..to))
    }

    async fn count_from(&self, from: u32, to: u32) -> Result<Items<u32>, Failure> {
        if from > to { Err(Failure::new("backwards")) } else { Ok(Items::new(stream::iter(from..to))) }
    }

    async fn bytes(&self, count: usize) -> Reply {
        Reply::bytes(stream::iter([Ok::<_, Failure>(vec![7; count].into())]))
    }

    async fn whoami(&self, caller: &Caller) -> String {
        caller.id().to_string()
    }

    async fn is_it(&self, id: Id, caller: Caller) -> bool {
        caller.id() == id
    }

    async fn apply(&self, f: Function, to: i64) -> Result<i64, CallError> {
        f.call((to,)).await
    }
}

struct Nowhere;

impl Ring for Nowhere {
    fn owner(&self, _key: Id) -> BoxFuture<'static, Result<Id, String>> {
        Box::pin(async { Err("no ring".to_owned()) })
    }
}

/// A provider of [`Everything`], a caller, and the caller's id.
async fn connected(ring: &MemoryRing) -> (Objects, Objects, EverythingClient, Id) {
    let join = || {
        let identity = Identity::generate();
        let sessions = ring.join(&identity, Settings::default()).expect("a place");
        (
            Objects::start(identity.public(), &sessions, Limits::default(), Nowhere).expect("the only listener"),
            identity.public(),
        )
    };
    let ((near, near_key), (far, far_key)) = (join(), join());
    far.provide("Everything", Provider { greeting: "hello ".to_owned() }.into_object()).expect("the only one");
    let client = EverythingClient::connect(&near.peer(far_key), "Everything").await.expect("it is provided");
    (far, near, client, near_key.id())
}

#[tokio::test]
async fn the_client_calls_what_the_trait_defines() {
    let ring = MemoryRing::new(Conditions::default(), 3);
    let (_far, _near, client, id) = connected(&ring).await;
    assert_eq!(client.echo("you".to_owned()).await.unwrap(), "hello you");
    client.nothing().await.unwrap();
    let point = Point { x: 1.5, y: 2.0, tags: BTreeMap::new() };
    let mirrored = client.mirror(point.clone(), Some("kind".to_owned())).await.unwrap();
    assert_eq!(mirrored, Point { x: -1.5, tags: BTreeMap::from([("kind".to_owned(), None)]), ..point });
    assert_eq!(client.whoami().await.unwrap(), id.to_string());
    assert!(client.is_it(id).await.unwrap());
    let double = Function::new(|call: Call| async move { Ok::<_, Failure>(call.arg::<i64>(0)? * 2) });
    assert_eq!(client.apply(double, 21).await.unwrap(), 42);
}

#[tokio::test]
async fn what_a_function_fails_with_reaches_the_client() {
    let ring = MemoryRing::new(Conditions::default(), 4);
    let (_far, _near, client, _) = connected(&ring).await;
    assert_eq!(client.root(9.0).await.unwrap(), 3.0);
    let message = "-1 is negative".to_owned();
    assert_eq!(client.root(-1.0).await, Err(CallError::Failed { message, data: None }));
    let message = "never".to_owned();
    assert_eq!(client.refuse().await, Err(CallError::Failed { message, data: Some(7.into()) }));
    let message = "backwards".to_owned();
    assert_eq!(client.count_from(2, 1).await.unwrap_err(), CallError::Failed { message, data: None });
    // A caller without types may get them wrong.
    let wrong = client.remote().call::<Value>("root", ("nine",)).await;
    assert!(matches!(wrong, Err(CallError::WrongArguments(_))), "{wrong:?}");
    let missing = client.remote().call::<Value>("mirror", ()).await;
    assert!(matches!(missing, Err(CallError::WrongArguments(_))), "{missing:?}");
}

#[tokio::test]
async fn streams_and_bytes_are_typed_too() {
    let ring = MemoryRing::new(Conditions::default(), 5);
    let (_far, _near, client, _) = connected(&ring).await;
    let numbers: Vec<u32> = client.count(5).await.unwrap().try_collect().await.unwrap();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let numbers: Vec<u32> = client.count_from(3, 5).await.unwrap().try_collect().await.unwrap();
    assert_eq!(numbers, [3, 4]);
    let pieces: Vec<bytes::Bytes> = client.bytes(100_000).await.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), vec![7; 100_000]);
}

#[test]
fn the_shape_tells_what_the_trait_says() {
    let object = Provider { greeting: String::new() }.into_object();
    let shape = Object::shape(&object);
    assert_eq!(shape.doc, "A little of everything.");
    let function = |name: &str| match shape.member(name) {
        Some(Member::Function(function)) => function.clone(),
        other => panic!("{name}: {other:?}"),
    };
    let FunctionShape { doc, parameters, gives, .. } = function("root");
    assert_eq!((doc.as_str(), gives), ("The square root,\nif there is one.", Gives::Value));
    assert_eq!(parameters.unwrap(), ["x"]);
    assert_eq!(function("mirror").parameters.unwrap(), ["point", "type?"]);
    assert_eq!(function("is_it").parameters.unwrap(), ["id"]);
    assert_eq!(function("count").gives, Gives::Stream);
    assert_eq!(function("bytes").gives, Gives::Bytes);
}
