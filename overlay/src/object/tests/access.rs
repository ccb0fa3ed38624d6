//! Functions are told who calls, and rules say who may.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::*;

async fn who(call: Call) -> Result<(Id, Option<String>), Failure> {
    assert_eq!(call.caller().key().id(), call.caller().id());
    Ok((call.caller().id(), call.caller().name().await))
}

#[tokio::test]
async fn a_function_is_told_who_calls() {
    let pair = Pair::new();
    pair.bob.objects.provide("S", Object::new().function("who", who)).unwrap();
    let (id, name) = pair.remote("S").await.call::<(Id, Option<String>)>("who", ()).await.unwrap();
    assert_eq!((id, name), (pair.alice.id(), None));
    let own = pair.bob.objects.peer(pair.bob.id()).remote("S");
    assert_eq!(own.call::<(Id, Option<String>)>("who", ()).await.unwrap().0, pair.bob.id());
}

#[tokio::test]
async fn services_objects_and_functions_admit_whom_they_name() {
    let pair = Pair::new();
    let carol = node(&pair.ring, &Identity::generate(), pair.bob.id(), Limits::default());
    let only_alice = || Access::only([pair.alice.key]);
    let object = Object::new()
        .value("open", 1)
        .function("open_too", who)
        .function("guarded", Function::new(who).access(only_alice()))
        .object("secret", Object::new().value("x", 42).access(Access::only([pair.alice.id()])));
    pair.bob.objects.provide("S", object).unwrap();
    pair.bob.objects.provide("Closed", echo().access(only_alice())).unwrap();

    let alice = pair.remote("S").await;
    assert!(alice.call::<Value>("guarded", ()).await.is_ok());
    assert_eq!(alice.get::<i64>("secret.x").await, Ok(42));
    assert!(pair.peer().service("Closed").await.is_ok());

    let bob = carol.objects.peer(pair.bob.id());
    let other = bob.service("S").await.unwrap();
    assert!(other.call::<Value>("open_too", ()).await.is_ok());
    assert_eq!(other.call::<Value>("guarded", ()).await, Err(CallError::Refused));
    assert_eq!(other.get::<i64>("secret.x").await, Err(CallError::Refused));
    assert_eq!(other.watch::<i64>("secret.x").await.unwrap_err(), CallError::Refused);
    let all: Value = other.get("").await.unwrap();
    assert_eq!((all.at("open"), all.at("secret")), (Some(&1.into()), None), "what may not be read is left out");
    assert_eq!(bob.service("Closed").await.unwrap_err(), CallError::Refused);
    assert_eq!(bob.remote("Closed").call::<Value>("echo", (1,)).await, Err(CallError::Refused));
}

#[tokio::test]
async fn a_callback_decides_by_caller_and_path() {
    let pair = Pair::new();
    let alice = pair.alice.id();
    let check =
        Access::check(
            move |caller: Caller, path: String| async move { caller.id() == alice && path.starts_with("deep") },
        );
    pair.bob.objects.provide("S", echo().access(check)).unwrap();
    let remote = pair.peer().remote("S");
    assert_eq!(remote.get::<i64>("deep.x").await, Ok(21));
    assert_eq!(remote.get::<Value>("a").await, Err(CallError::Refused));
}

/// Knows one name.
struct Book(PeerKey);

impl Names for Book {
    fn resolve(&self, name: &str) -> BoxFuture<'_, Result<Resolved, String>> {
        let known = (name == "alice").then_some(Resolved { id: self.0.id(), key: Some(self.0) });
        Box::pin(async move { known.ok_or_else(|| "nobody has this name".to_owned()) })
    }

    fn name_of(&self, key: &PeerKey) -> BoxFuture<'_, Option<String>> {
        let known = (*key == self.0).then(|| "alice".to_owned());
        Box::pin(async move { known })
    }
}

#[tokio::test]
async fn names_stand_for_keys_where_somebody_knows_them() {
    let pair = Pair::new();
    assert!(pair.bob.objects.set_names(Arc::new(Book(pair.alice.key))));
    let guarded = Function::new(who).access(Access::only(["@alice"]));
    let others = Function::new(who).access(Access::only(["@carol"]));
    pair.bob.objects.provide("S", Object::new().function("who", guarded).function("others", others)).unwrap();
    pair.alice.objects.provide("A", echo()).unwrap();

    let remote = pair.remote("S").await;
    let (_, name) = remote.call::<(Id, Option<String>)>("who", ()).await.unwrap();
    assert_eq!(name.as_deref(), Some("alice"));
    assert_eq!(remote.call::<Value>("others", ()).await, Err(CallError::Refused));
    let named = pair.bob.objects.peer("@alice").service("A").await.unwrap();
    assert_eq!(named.call::<i64>("echo", (1,)).await, Ok(1));
    let nobody = pair.bob.objects.peer("@carol").services().await.unwrap_err();
    assert_eq!(nobody.to_string(), "no such peer: @carol: nobody has this name");
}

#[tokio::test]
async fn a_peer_that_is_meant_by_its_key_is_not_taken_for_another() {
    let pair = Pair::new();
    pair.bob.objects.provide("Echo", echo()).unwrap();
    assert!(pair.alice.objects.peer(pair.bob.key).service("Echo").await.is_ok());
    // A name whose record has Bob's place on the ring, and another's key.
    struct Wrong(Resolved);
    impl Names for Wrong {
        fn resolve(&self, _: &str) -> BoxFuture<'_, Result<Resolved, String>> {
            Box::pin(async { Ok(self.0) })
        }
        fn name_of(&self, _: &PeerKey) -> BoxFuture<'_, Option<String>> {
            Box::pin(async { None })
        }
    }
    let wrong = Resolved { id: pair.bob.id(), key: Some(pair.alice.key) };
    pair.alice.objects.set_names(Arc::new(Wrong(wrong)));
    let refused = pair.alice.objects.peer("@bob").services().await.unwrap_err();
    assert_eq!(refused.to_string(), "no such peer: @bob: another key answers for its id");
}
