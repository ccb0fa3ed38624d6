//! Functions passed in arguments and results are remote functions, for as long as somebody holds them.

use std::sync::{Arc, Mutex};

use super::*;

/// Keeps the last function it is given, until told to forget it.
fn keeper() -> Object {
    let kept = Arc::new(Mutex::new(None::<Function>));
    let (keep, use_it) = (kept.clone(), kept.clone());
    Object::new()
        .function("keep", move |call: Call| {
            let kept = keep.clone();
            async move {
                *kept.lock().unwrap() = Some(call.arg(0)?);
                Ok::<_, ArgumentError>(())
            }
        })
        .function("use", move |call: Call| {
            let function = use_it.lock().unwrap().clone();
            async move {
                let function = function.ok_or_else(|| Failure::new("nothing is kept"))?;
                function.call::<Value>(call.into_arguments()).await.map_err(Failure::relay)
            }
        })
        .function("forget", move |_call: Call| {
            let forgotten = kept.lock().unwrap().take();
            async move { Ok::<_, Failure>(forgotten.is_some()) }
        })
        .function("apply", |call: Call| async move {
            let function: Function = call.arg(0)?;
            function.call::<Value>((call.arg::<Value>(1)?,)).await.map_err(Failure::relay)
        })
        .function("adder", |call: Call| async move {
            let more: i64 = call.arg(0)?;
            Ok::<_, ArgumentError>(Function::new(move |call: Call| async move {
                Ok::<_, ArgumentError>(call.arg::<i64>(0)? + more)
            }))
        })
        .function("same", |call: Call| async move { call.arg::<Value>(0) })
}

async fn provided() -> (Pair, Remote) {
    let pair = Pair::new();
    pair.bob.objects.provide("Keeper", keeper()).unwrap();
    let remote = pair.remote("Keeper").await;
    (pair, remote)
}

async fn none_held(node: &TestNode) {
    until("all functions are released", || match node.objects.held_by_peers() {
        0 => Ok(()),
        held => Err(format!("{held} are held")),
    })
    .await;
}

#[tokio::test]
async fn a_function_passed_in_an_argument_is_called_back_and_then_released() {
    let (pair, remote) = provided().await;
    assert_eq!(soon(remote.call::<i64>("apply", (Function::new(double), 21))).await, Ok(42));
    none_held(&pair.alice).await;
}

#[tokio::test]
async fn a_function_in_a_result_can_be_called_until_it_is_dropped() {
    let (pair, remote) = provided().await;
    let add_two: Function = remote.call("adder", (2,)).await.unwrap();
    let add_five: Function = remote.call("adder", (5,)).await.unwrap();
    assert_eq!(soon(add_two.call::<i64>((40,))).await, Ok(42));
    assert_eq!(soon(add_five.call::<i64>((40,))).await, Ok(45));
    assert_eq!(pair.bob.objects.held_by_peers(), 2);
    drop((add_two.clone(), add_two, add_five));
    none_held(&pair.bob).await;
}

#[tokio::test]
async fn a_function_that_is_kept_stays_until_it_is_forgotten() {
    let (pair, remote) = provided().await;
    remote.call::<()>("keep", (Function::new(double),)).await.unwrap();
    for number in 0..5 {
        assert_eq!(soon(remote.call::<i64>("use", (number,))).await, Ok(number * 2));
    }
    assert_eq!(pair.alice.objects.held_by_peers(), 1);
    assert_eq!(remote.call::<bool>("forget", ()).await, Ok(true));
    none_held(&pair.alice).await;
}

#[tokio::test]
async fn the_owner_of_a_function_can_release_it_and_so_can_its_holder() {
    let (pair, remote) = provided().await;
    let function = Function::new(double);
    remote.call::<()>("keep", (function.clone(),)).await.unwrap();
    function.release();
    let gone = Err(CallError::NoSuchFunction("released".to_owned()));
    assert_eq!(soon(remote.call::<Value>("use", (1,))).await, gone);

    let add_two: Function = remote.call("adder", (2,)).await.unwrap();
    add_two.release();
    assert_eq!(soon(add_two.call::<Value>((1,))).await, gone);
    none_held(&pair.bob).await;
}

#[tokio::test]
async fn a_function_that_comes_home_is_itself() {
    let (pair, remote) = provided().await;
    let function = Function::new(double);
    let back: Function = remote.call("same", (function.clone(),)).await.unwrap();
    assert_eq!(back, function);
    assert_eq!(soon(back.call::<i64>((4,))).await, Ok(8));
    none_held(&pair.alice).await;
}

#[tokio::test]
async fn a_function_is_passed_on_to_a_third_node() {
    let (pair, remote) = provided().await;
    let carol = node(&pair.ring, &Identity::generate(), pair.bob.id(), Limits::default());
    carol.objects.provide("Keeper", keeper()).unwrap();
    // Bob's function, passed by Alice to Carol, who calls Alice, who calls Bob.
    let add_two: Function = remote.call("adder", (2,)).await.unwrap();
    let at_carol = pair.alice.objects.peer(carol.id()).service("Keeper").await.unwrap();
    assert_eq!(soon(at_carol.call::<i64>("apply", (add_two.clone(), 40))).await, Ok(42));
    none_held(&pair.alice).await;
    assert_eq!(pair.bob.objects.held_by_peers(), 1);
}

#[tokio::test]
async fn only_the_peer_that_was_given_a_function_can_call_it() {
    let (pair, remote) = provided().await;
    let carol = node(&pair.ring, &Identity::generate(), pair.bob.id(), Limits::default());
    let add_two: Function = remote.call("adder", (2,)).await.unwrap();
    // Carol guesses the handle.
    let handle = pair.bob.objects.core().exports().handles()[0];
    let request = Request::Call { target: Target::Function(handle), arguments: vec![1.into()] };
    let session = carol.sessions.connect(pair.bob.id()).await.unwrap();
    let core = carol.objects.core();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refused = wire::ask(core, &session, &request, wire::Taking::Whole, deadline).await;
    assert_eq!(refused.err(), Some(CallError::NoSuchFunction("released".to_owned())));
    assert_eq!(soon(add_two.call::<i64>((1,))).await, Ok(3));
}

#[tokio::test]
async fn functions_are_released_when_the_call_that_carried_them_fails_or_is_dropped() {
    let (pair, remote) = provided().await;
    let nothing = soon(remote.call::<()>("nothing", (Function::new(double),))).await;
    assert_eq!(nothing, Err(CallError::NoSuchFunction("nothing".to_owned())));
    assert_eq!(pair.alice.objects.held_by_peers(), 0);
    let call = remote.call::<()>("keep", (Function::new(double),));
    let _ = tokio::time::timeout(Duration::ZERO, call).await;
    remote.call::<bool>("forget", ()).await.unwrap();
    none_held(&pair.alice).await;
}

#[tokio::test]
async fn functions_are_released_when_the_peer_goes() {
    let (pair, remote) = provided().await;
    remote.call::<()>("keep", (Function::new(double),)).await.unwrap();
    let add_two: Function = remote.call("adder", (2,)).await.unwrap();
    assert_eq!((pair.alice.objects.held_by_peers(), pair.bob.objects.held_by_peers()), (1, 1));
    pair.alice.sessions.close().await;
    none_held(&pair.bob).await;
    none_held(&pair.alice).await;
    let lost = soon(add_two.call::<i64>((1,))).await;
    assert!(matches!(lost, Err(CallError::Closed | CallError::PeerLost(_))), "{lost:?}");
}

#[tokio::test]
async fn ten_thousand_functions_come_and_go() {
    let (pair, remote) = provided().await;
    for round in 0..100 {
        let adders = (0..100).map(|number| remote.call::<Function>("adder", (number,)));
        let adders = futures::future::try_join_all(adders).await.unwrap();
        assert_eq!(soon(adders[7].call::<i64>((round,))).await, Ok(round + 7));
    }
    none_held(&pair.bob).await;
}

#[tokio::test]
async fn a_peer_holds_no_more_functions_than_it_may() {
    let pair = Pair::with(Limits { functions_per_peer: 10, ..Limits::default() });
    pair.bob.objects.provide("Keeper", keeper()).unwrap();
    let remote = pair.remote("Keeper").await;
    let mut held = Vec::new();
    for number in 0..10 {
        held.push(remote.call::<Function>("adder", (number,)).await.unwrap());
    }
    let refused = remote.call::<Function>("adder", (10,)).await;
    assert!(matches!(refused, Err(CallError::TooLarge(_))), "{refused:?}");
    drop(held);
    none_held(&pair.bob).await;
    assert!(remote.call::<Function>("adder", (10,)).await.is_ok());
}

#[tokio::test]
async fn functions_work_at_home_too() {
    let pair = Pair::new();
    pair.bob.objects.provide("Keeper", keeper()).unwrap();
    let own = pair.bob.objects.peer(pair.bob.id()).remote("Keeper");
    assert_eq!(soon(own.call::<i64>("apply", (Function::new(double), 21))).await, Ok(42));
    let add_two: Function = own.call("adder", (2,)).await.unwrap();
    assert_eq!(soon(own.call::<i64>("apply", (add_two, 40))).await, Ok(42));
}
