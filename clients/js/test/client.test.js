'use strict';
// Against real daemons in a real ring: ATOLL_NODE_CLI is the program.

const assert = require('node:assert');
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');
const { after, before, test } = require('node:test');
const { once } = require('node:events');
const atoll = require('../index.js');

const PROGRAM = process.env.ATOLL_NODE_CLI;
assert(PROGRAM, 'set ATOLL_NODE_CLI to the path of node-cli');

const place = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-js-'));
const running = new Set();
const programs = new Set();
let signalling;
let here;
let there;
let services = 0;

/** Starts node-cli, and gives it with the first thing that it prints. */
async function start(...words) {
  const child = spawn(PROGRAM, [...words, '--json'], { cwd: place, env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  let said = '';
  child.stderr.on('data', (text) => (said += text));
  child.on('exit', () => running.delete(child));
  const lines = readline.createInterface({ input: child.stdout });
  const [line] = await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(() => assert.fail(`node-cli ${words.join(' ')}: ${said}`)),
  ]);
  return { child, event: JSON.parse(line) };
}

async function end({ child }, signal = 'SIGTERM') {
  child.kill(signal);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

function daemon(name) {
  return start('daemon', '--socket', path.join(place, name), '--key', path.join(place, `${name}.key`), '--signalling', signalling);
}

function program(name, where) {
  const socket = path.join(place, where);
  const glou = atoll(name, { socket });
  glou.on('error', (error) => assert.fail(error));
  programs.add(glou);
  return glou;
}

before(async () => {
  const listening = await start('listen', '--door', '0');
  signalling = listening.event.signalling[0];
  for (const name of ['here', 'there']) {
    const made = spawn(PROGRAM, ['key', 'create', path.join(place, `${name}.key`)], { stdio: 'ignore' });
    await once(made, 'exit');
  }
  [here, there] = await Promise.all([daemon('here'), daemon('there')]);
  // Members that came at once are not known to each other at once.
  const probe = program('Probe', 'here');
  await probe.start();
  let seen;
  await settled(async () => {
    seen = await probe.node(there.event.id).catch((error) => error);
    return !(seen instanceof Error);
  }, () => `${seen}`);
  probe.stop();
});

after(async () => {
  for (const glou of programs) glou.stop();
  await Promise.all([...running].map((child) => end({ child }, 'SIGKILL')));
  fs.rmSync(place, { recursive: true });
});

test("glou's example, with its callbacks", async (t) => {
  const provider = program('ProviderServiceName', 'there');
  const provided = new Promise((resolve, reject) => {
    provider.on('start', () => {
      const service = { a: 'information here', b: 'more information here', echo: (m) => m };
      provider.provide(service).then(resolve, reject);
    });
  });
  provider.start();
  await provided;
  const reader = program('ReaderServiceName', 'here');
  t.after(() => {
    reader.stop();
    provider.stop();
  });
  const seen = await new Promise((resolve, reject) => {
    reader.on('start', () => {
      reader.node(there.event.id, (err, node) => {
        if (err) return reject(err);
        node.service('ProviderServiceName', (err, svc) => {
          if (err) return reject(err);
          svc.echo((ret, error) => (error ? reject(error) : resolve([svc.a, ret])), 'Hello world!');
        });
      });
    });
    reader.start();
  });
  assert.deepStrictEqual(seen, ['information here', 'Hello world!']);
});

/** A provider there, a node to reach it by here, and what stops both. */
async function pair(t, object) {
  // One of its own for each test: the last one's may just be going.
  const name = `Service${++services}`;
  const [provider, reader] = [program(name, 'there'), program('Reader', 'here')];
  t.after(() => {
    provider.stop();
    reader.stop();
  });
  await Promise.all([provider.start(), reader.start()]);
  await provider.provide(object);
  const node = await reader.node(there.event.id);
  return { name, provider, reader, node };
}

test('values of every kind come back as they went', async (t) => {
  const { name, node } = await pair(t, { deep: { x: { f: (n) => 2 * n, list: [1, [2]] } }, echo: (...all) => all });
  const svc = await node.service(name);
  assert.deepStrictEqual(svc.deep.x.list, [1, [2]]);
  assert.strictEqual(await svc.deep.x.f(21), 42);
  const values = ['$0', '$$', 'ü', 1.5, -7, true, null, [], { $a: '$' }, Buffer.from([0, 255]), NaN, -Infinity];
  assert.deepStrictEqual(await svc.echo(...values), values);
  assert((await node.services()).includes(name));
  assert.strictEqual(await node.get(name, 'deep.x.list.1.0'), 2);
});

test('functions go both ways, and are released', async (t) => {
  let kept;
  const { name, provider, reader, node } = await pair(t, {
    each: async (list, run) => Promise.all(list.map((item) => run(item))),
    adder: (a) => (b) => a + b,
    keep(run) {
      kept = run;
      return this.caller.id;
    },
    same: (run) => run === kept,
  });
  const svc = await node.service(name);
  assert.deepStrictEqual(await svc.each([1, 2, 3], (n) => n * n), [1, 4, 9]);
  const add = await svc.adder(40);
  assert.strictEqual(await add(2), 42);
  assert.strictEqual(await svc.keep(() => 'called back'), here.event.id);
  assert.strictEqual(await kept(), 'called back');
  const before = reader.functions.size;
  kept.release();
  await settled(() => reader.functions.size < before, () => `${reader.functions.size} functions are held, as before`);
  await assert.rejects(kept(), { kind: 'no-such-function' });
  const held = provider.functions.size;
  add.release();
  await settled(() => provider.functions.size < held, () => `${provider.functions.size} functions are held, as before`);
});

test('each error has a kind of its own', async (t) => {
  let called;
  const { name, provider, reader, node } = await pair(t, {
    fails() {
      throw Object.assign(new Error('no such luck'), { data: { code: 7 } });
    },
    throws(kind) {
      throw new atoll.AtollError({ kind, message: 'said so' });
    },
    never() {
      called?.();
      return new Promise(() => {});
    },
  });
  const svc = await node.service(name);
  await assert.rejects(svc.fails(), { kind: 'failed', message: 'no such luck', data: { code: 7 } });
  for (const kind of ['refused', 'wrong-arguments']) await assert.rejects(svc.throws(kind), { kind });
  await assert.rejects(svc.throws('x'.repeat(9 << 20)), { kind: 'too-large' });
  await assert.rejects(node.call(name, 'never', [], { timeout: 100 }), { kind: 'timed-out' });
  await assert.rejects(node.call(name, 'nothing'), { kind: 'no-such-function' });
  await assert.rejects(node.get(name, 'nothing'), { kind: 'no-such-value' });
  await assert.rejects(node.service('Nothing'), { kind: 'no-such-service' });
  await assert.rejects(reader.node('00f3a1b2c4d5'), { kind: 'no-such-peer' });
  const rival = program(name, 'there');
  t.after(() => rival.stop());
  await rival.start();
  await assert.rejects(rival.provide({}), { kind: 'name-taken' });
  const isCalled = new Promise((resolve) => (called = resolve));
  const never = svc.never();
  await Promise.race([isCalled, never]);
  provider.stop();
  await assert.rejects(never, { kind: 'cancelled' });
});

test('a watched value tells its changes, and a service goes with its program', async (t) => {
  const { name, provider, node } = await pair(t, { count: 0 });
  const changes = node.watch(name, 'count');
  assert.deepStrictEqual(await changes.next(), { value: 0, done: false });
  await provider.set('count', 1);
  assert.deepStrictEqual(await changes.next(), { value: 1, done: false });
  provider.stop();
  await assert.rejects(changes.next(), { kind: 'cancelled' });
  await assert.rejects(node.get(name, 'count'), { kind: 'no-such-service' });
});

test('a function gives many results, and each side goes at the pace of the other', async (t) => {
  let given = 0;
  let stopped;
  const isStopped = new Promise((resolve) => (stopped = resolve));
  const { name, node } = await pair(t, {
    async *count(to) {
      for (let n = 0; n < to; n++) yield n;
    },
    *letters() {
      yield* 'ab';
    },
    async *endless() {
      try {
        for (;;) yield [given++, 'x'.repeat(65536)];
      } finally {
        stopped();
      }
    },
    async *fails() {
      yield 1;
      throw Object.assign(new Error('no more'), { data: 7 });
    },
    streams: () => async function* () {
      yield { deep: Buffer.from([1]) };
    },
    none: async function* () {},
  });
  const svc = await node.service(name);
  const all = async (results) => {
    const list = [];
    for await (const result of results) list.push(result);
    return list;
  };
  const numbers = Array.from({ length: 500 }, (_, n) => n);
  assert.deepStrictEqual(await all(svc.count.stream(500)), numbers);
  assert.deepStrictEqual(await svc.count(500), numbers);
  assert.deepStrictEqual(await all(node.stream(name, 'letters')), ['a', 'b']);
  assert.deepStrictEqual(await all(svc.none.stream()), []);
  const held = await svc.streams();
  assert.deepStrictEqual(await all(held.stream()), [{ deep: Buffer.from([1]) }]);
  const failing = svc.fails.stream();
  assert.strictEqual((await failing.next()).value, 1);
  await assert.rejects(failing.next(), { kind: 'failed', message: 'no more', data: 7 });
  assert.deepStrictEqual(await failing.next(), { value: undefined, done: true });

  // Nobody takes more than one: the other end stops giving when what is on its way is full, and is told when no more is wanted.
  const endless = svc.endless.stream();
  assert.strictEqual((await endless.next()).value[0], 0);
  let seen = -1;
  await settled(() => {
    const still = seen === given;
    seen = given;
    return still;
  }, () => `${given} were given`);
  assert(given < 1000, `${given} were given`);
  await endless.return();
  await isStopped;
});

test('a watched value is told on when the daemon restarts', async (t) => {
  const { name, provider, reader, node } = await pair(t, { count: 1 });
  const changes = node.watch(name, 'count');
  assert.deepStrictEqual(await changes.next(), { value: 1, done: false });
  const next = changes.next();
  const back = once(reader, 'reconnect');
  await end(here, 'SIGKILL');
  await provider.set('count', 2);
  here = await daemon('here');
  await back;
  assert.deepStrictEqual(await next, { value: 2, done: false });
  await provider.set('count', 3);
  assert.deepStrictEqual(await changes.next(), { value: 3, done: false });
  reader.stop();
  await assert.rejects(changes.next(), { kind: 'closed' });
});

test('the daemon tells its name, by which it is found', async (t) => {
  const socket = path.join(place, 'named');
  const named = await start('daemon', '--socket', socket, '--name', 'carol', '--signalling', signalling);
  t.after(() => end(named));
  const { name, node } = await pair(t, { a: 1 });
  assert.strictEqual(await node.get(name, 'a'), 1);
  const carol = program('Carol', 'named');
  const reader = program('Reader of Carol', 'here');
  t.after(() => {
    carol.stop();
    reader.stop();
  });
  const info = await carol.start();
  assert.deepStrictEqual([info.name, info.hash], ['@carol', named.event.id]);
  await carol.provide({
    who() {
      return this.caller;
    },
  });
  await reader.start();
  const who = await (await (await reader.node('@carol')).service('Carol')).who();
  assert.strictEqual(who.id, here.event.id);
  assert.strictEqual(reader.info.name, here.event.id);
});

test('when the daemon restarts its programs come back and provide again, and who called is told', async (t) => {
  let called;
  const isCalled = new Promise((resolve) => (called = resolve));
  const never = () => {
    called();
    return new Promise(() => {});
  };
  const { name, provider, node } = await pair(t, { echo: (m) => m, never });
  const svc = await node.service(name);
  assert.strictEqual(await svc.echo(1), 1);
  const back = once(provider, 'reconnect');
  const lost = assert.rejects(node.call(name, 'never', [], { timeout: 60_000 }), { kind: 'peer-lost' });
  await Promise.race([isCalled, lost]);
  const begun = Date.now();
  await end(there, 'SIGKILL');
  await lost;
  assert(Date.now() - begun < 5000, `it took ${Date.now() - begun} ms`);
  there = await daemon('there');
  await back;
  await settled(async () => (await svc.echo(2).catch((error) => error)) === 2, () => 'the service is not there again');
});

test('a scope is handled, and called at whoever owns an address', async (t) => {
  const { name, provider, reader } = await pair(t, {});
  const [scope, numbers] = [`${name}:greet`, `${name}:numbers`];
  await provider.handle(scope, function (who) {
    return [`hello ${who}`, this.path, this.caller.id];
  });
  await provider.handle(numbers, async function* (to) {
    for (let n = 0; n < to; n++) yield n;
  });
  const id = there.event.id;
  assert.deepStrictEqual(await reader.call(id, scope, 'you'), ['hello you', scope, here.event.id]);
  // Whoever owns an address is the one to be called there.
  const address = atoll.address('some key');
  const owner = await reader.call(null, 'sea:nearest', address);
  assert.match(owner, /^[0-9a-f]{12}$/);
  const called = reader.call(address, scope, 'owner');
  if (owner === id) assert.strictEqual((await called)[0], 'hello owner');
  else await assert.rejects(called, { kind: 'no-such-function' });
  const all = [];
  for await (const n of reader.stream(id, numbers, 3)) all.push(n);
  assert.deepStrictEqual(all, [0, 1, 2]);

  const rival = program('Rival', 'there');
  t.after(() => rival.stop());
  await rival.start();
  await assert.rejects(rival.handle(scope, () => {}), { kind: 'name-taken' });
  await provider.handle(scope, () => 'another');
  assert.strictEqual(await reader.call(id, scope), 'another');
  await provider.unhandle(scope);
  await assert.rejects(reader.call(id, scope), { kind: 'no-such-function' });
  await rival.handle(scope, () => 'rival');
  assert.strictEqual(await reader.call(id, scope), 'rival');
  // It goes with its program.
  rival.stop();
  await settled(async () => (await reader.call(id, scope).catch((error) => error)).kind === 'no-such-function', () => 'it is handled');
});

test('a name is claimed for as long as the program stays', async (t) => {
  const { provider, reader } = await pair(t, {});
  await provider.claim('@dave');
  await assert.rejects(reader.claim('dave'), { kind: 'name-taken' });
  await assert.rejects(provider.claim('No Name'), { kind: 'bad-name' });
  assert.deepStrictEqual(await (await reader.node('@dave')).services(), await (await reader.node(there.event.id)).services());
  await provider.unclaim('dave');
  await settled(() => reader.claim('dave').then(() => true, () => false), () => 'the name is not free');
});

test('a daemon that goes while a program comes back is waited for, by one connection', async (t) => {
  // No daemon, but what one says that goes at the worst time.
  let lives = 0;
  let open = 0;
  let most = 0;
  const daemon = net.createServer((socket) => {
    const life = ++lives;
    most = Math.max(most, ++open);
    socket.on('close', () => open--).on('error', () => {});
    readline.createInterface({ input: socket }).on('line', (line) => {
      const { type, uid } = JSON.parse(line);
      if (type === 'hello') socket.write('{"type":"hello","info":{"name":"x","hash":"x","version":"0"}}\n');
      else if (life === 2 || life === 3) socket.destroy();
      else socket.write(`{"type":"response","status":"ok","uid":${uid}}\n`, () => life === 1 && socket.destroy());
    });
  });
  const socket = path.join(place, 'fickle');
  await once(daemon.listen(socket), 'listening');
  const glou = atoll('Fickle', { socket });
  t.after(() => {
    glou.stop();
    daemon.close();
  });
  const back = once(glou, 'reconnect');
  await glou.start();
  await glou.provide({ a: 1 }).catch(() => {});
  await glou.provide({ a: 1 }).catch(() => {});
  await back;
  assert.deepStrictEqual([lives, most], [4, 1]);
});

/** Waits until it is so. */
async function settled(isSo, seen) {
  const until = Date.now() + 20_000;
  while (!(await isSo())) {
    assert(Date.now() < until, seen());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('what is published on a channel comes to the programs of every daemon, in its order', async (t) => {
  const [writer, reader] = [program('Writer', 'there'), program('Reader', 'here')];
  t.after(() => {
    writer.stop();
    reader.stop();
  });
  await Promise.all([writer.start(), reader.start()]);
  const name = `news ${++services}`;
  const [there, here] = [writer.channel(name), reader.channel(name)];
  const [sports, all] = [here.subscribe('sports'), here.subscribe()];
  await Promise.all([sports.begun, all.begun]);
  // Nobody waits for one before the next.
  const texts = Array.from({ length: 200 }, (_, number) => `$${number}`);
  const numbers = await Promise.all(texts.map((text) => there.publish('sports', text)));
  assert.deepStrictEqual(numbers, texts.map((_, number) => number));
  await there.publish('', Buffer.from([255, 0]));
  const take = async (subscription, count) => {
    const messages = [];
    while (messages.length < count) {
      const { value } = await subscription.next();
      assert.strictEqual(value.lagged, undefined);
      messages.push(value);
    }
    return messages;
  };
  const got = await take(sports, 200);
  assert.deepStrictEqual(got.map(({ payload }) => payload.toString()), texts);
  assert.ok(got.every(({ publisher, scope }) => publisher === writer.info.hash && scope === 'sports'));
  const last = (await take(all, 201)).at(-1);
  assert.deepStrictEqual([last.number, last.scope, [...last.payload]], [200, '', [255, 0]]);
  await assert.rejects(there.publish('', 'x'.repeat(20_000)), { kind: 'too-large' });
  await assert.rejects(there.publish('\0x', 'x'), { kind: 'wrong-arguments' });
  await assert.rejects(reader.channel(name, { secret: 'short' }).publish('', 'x'), { kind: 'wrong-arguments' });
  await here.leave();
  assert.deepStrictEqual(await sports.next(), { value: undefined, done: true });
  await assert.rejects(here.leave(), { kind: 'closed' });
});
