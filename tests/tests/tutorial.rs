//! The tutorial of `docs/objects.md`, run: each piece of Rust there stands here, line by line.

use std::time::Duration;

use atoll::object::{
    Access, ByteStream, Call, CallError, Caller, Failure, Function, Items, Object, Reply, Results, Service, Value,
};
use atoll::{Id, Node, PeerKey};
use atoll_tests::{TestServer, await_one_ring};
use futures::stream;

fn provide(node: &Node) -> anyhow::Result<Service> {
    let object = Object::new()
        .doc("Says things back.")
        .value("a", "information here")
        .value("b", "more information here")
        .function("echo", |call: Call| async move { call.arg::<String>(0) })
        .object("deep", Object::new().value("x", 21).function("f", Function::new(double).parameters(["x"])));
    let service = node.provide("Echo", object)?;
    Ok(service)
}

async fn double(call: Call) -> Result<i64, Failure> {
    let x: i64 = call.arg(0)?;
    x.checked_mul(2).ok_or_else(|| Failure::new("too large").with(x))
}

async fn use_it(node: &Node, id: Id) -> anyhow::Result<()> {
    let peer = node.peer(id);
    assert_eq!(peer.services().await?, ["Echo"]);

    let echo = peer.service("Echo").await?;
    let a: String = echo.get("a").await?;
    assert_eq!(a, "information here");
    let said: String = echo.call("echo", ("Hello world!",)).await?;
    assert_eq!(said, "Hello world!");
    let doubled: i64 = echo.call("deep.f", (21,)).await?;
    assert_eq!(doubled, 42);

    for (path, function) in echo.shape().functions() {
        println!("{path}({}) {}", function.parameters.clone().unwrap_or_default().join(", "), function.doc);
    }
    let everything: Value = echo.get("").await?;
    assert_eq!(everything.at("deep.x"), Some(&Value::from(21)));
    Ok(())
}

async fn errors(node: &Node, id: Id) -> anyhow::Result<()> {
    let echo = node.peer(id).service("Echo").await?.timeout(Duration::from_secs(2));
    match echo.call::<i64>("deep.f", (i64::MAX,)).await {
        Ok(doubled) => println!("{doubled}"),
        Err(CallError::Failed { message, data }) => {
            assert_eq!((message.as_str(), data), ("too large", Some(i64::MAX.into())))
        }
        Err(CallError::TimedOut) => println!("not within 2 s"),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

async fn watch(service: Service, node: &Node, id: Id) -> anyhow::Result<()> {
    let mut changes: Results<i64> = node.peer(id).service("Echo").await?.watch("deep.x").await?;
    assert_eq!(changes.next().await, Some(Ok(21)));
    service.set("deep.x", 22)?;
    assert_eq!(changes.next().await, Some(Ok(22)));
    Ok(())
}

async fn streams(provider: &Node, node: &Node) -> anyhow::Result<()> {
    let object = Object::new()
        .function("count", |call: Call| async move {
            let to: u64 = call.arg(0)?;
            Ok::<_, Failure>(Items::new(stream::iter(0..to)))
        })
        .function("file", |call: Call| async move {
            let path: String = call.arg(0)?;
            Ok::<_, Failure>(Reply::read(tokio::fs::File::open(path).await?))
        });
    provider.provide("Streams", object)?;

    let streams = node.peer(provider.id()).service("Streams").await?;
    let mut numbers: Results<u64> = streams.stream("count", (3,)).await?;
    while let Some(number) = numbers.next().await {
        println!("{}", number?);
    }
    let mut file: ByteStream = streams.bytes("file", ("Cargo.toml",)).await?;
    tokio::io::copy(&mut file, &mut tokio::io::sink()).await?;
    Ok(())
}

async fn functions(provider: &Node, node: &Node) -> anyhow::Result<()> {
    let object = Object::new().function("each", |call: Call| async move {
        let (list, function): (Vec<i64>, Function) = call.args()?;
        let mut results = Vec::new();
        for item in list {
            results.push(function.call::<i64>((item,)).await?);
        }
        Ok::<_, Failure>(results)
    });
    provider.provide("Lists", object)?;

    let lists = node.peer(provider.id()).service("Lists").await?;
    let results: Vec<i64> = lists.call("each", ([1, 2, 3], Function::new(double))).await?;
    assert_eq!(results, [2, 4, 6]);
    Ok(())
}

/// Tells the time, and who asks.
#[atoll::service]
pub trait Clock {
    /// Seconds since it was started.
    async fn seconds(&self) -> u64;
    /// Waits, and says how long it was.
    async fn wait(&self, seconds: f64) -> Result<f64, Failure>;
    /// Counts them.
    async fn ticks(&self, count: u32) -> Items<u32>;
    /// The id of who asks.
    async fn who_am_i(&self, caller: &Caller) -> Id;
}

struct MyClock(std::time::Instant);

impl Clock for MyClock {
    async fn seconds(&self) -> u64 {
        self.0.elapsed().as_secs()
    }

    async fn wait(&self, seconds: f64) -> Result<f64, Failure> {
        tokio::time::sleep(Duration::try_from_secs_f64(seconds)?).await;
        Ok(seconds)
    }

    async fn ticks(&self, count: u32) -> Items<u32> {
        Items::new(stream::iter(0..count))
    }

    async fn who_am_i(&self, caller: &Caller) -> Id {
        caller.id()
    }
}

async fn typed(provider: &Node, node: &Node) -> anyhow::Result<()> {
    provider.provide("Clock", MyClock(std::time::Instant::now()).into_object())?;

    let clock = ClockClient::connect(&node.peer(provider.id()), "Clock").await?;
    assert_eq!(clock.wait(0.001).await?, 0.001);
    assert!(matches!(clock.wait(-1.0).await, Err(CallError::Failed { .. })));
    assert_eq!(clock.who_am_i().await?, node.id());
    let mut ticks = clock.ticks(2).await?;
    assert_eq!(ticks.next().await, Some(Ok(0)));
    Ok(())
}

async fn access(provider: &Node, node: &Node, friend: PeerKey) -> anyhow::Result<()> {
    let guarded = Object::new()
        .value("open", "to everybody")
        .object("friends", Object::new().value("secret", 42).access(Access::only([friend])))
        .function(
            "lower_half",
            Function::new(double)
                .access(Access::check(|caller: Caller, _path| async move { caller.id() < Id::new(1 << 47) })),
        );
    provider.provide("Guarded", guarded)?;

    let guarded = node.peer(provider.id()).service("Guarded").await?;
    assert_eq!(guarded.get::<i64>("friends.secret").await, Err(CallError::Refused));
    Ok(())
}

async fn addresses(provider: &Node, node: &Node) -> anyhow::Result<()> {
    provider
        .handle("greet", |call: Call| async move { Ok::<_, Failure>(format!("hello {}", call.arg::<String>(0)?)) })?;

    let address = Id::hash("some key");
    let owner: Id = node.call(address, "sea:nearest", (address,)).await?;
    if owner == provider.id() {
        let greeting: String = node.call(address, "greet", ("you",)).await?;
        assert_eq!(greeting, "hello you");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tutorial_runs() {
    let server = TestServer::start().await;
    let nodes = server.ring(3).await;
    await_one_ring(&nodes, Duration::from_secs(20)).await.expect("one ring");
    let [provider, node, friend] = &nodes[..] else { panic!("three nodes") };
    let all = async {
        let service = provide(provider)?;
        use_it(node, provider.id()).await?;
        errors(node, provider.id()).await?;
        watch(service, node, provider.id()).await?;
        streams(provider, node).await?;
        functions(provider, node).await?;
        typed(provider, node).await?;
        access(provider, node, friend.key()).await?;
        addresses(provider, node).await
    };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("it hangs").expect("it works");
}

#[test]
fn the_page_shows_what_runs_here() {
    let lines = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let here = lines(include_str!("tutorial.rs"));
    let page = include_str!("../../docs/objects.md");
    let pieces: Vec<&str> = page.split("```rust\n").skip(1).map(|piece| piece.split("```").next().unwrap()).collect();
    assert!(pieces.len() >= 8, "{} pieces", pieces.len());
    for piece in pieces {
        assert!(here.contains(&lines(piece)), "this does not run:\n{piece}");
    }
}
