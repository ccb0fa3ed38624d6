// What programmers of pages use, and misuse: two tabs of Chromium and a native node.

import assert from 'node:assert';
import { after, afterEach, before, test } from 'node:test';
import { endAll, eventually, join, launch, Process, serve, tab } from './support.mjs';

let url;
let server;
let native;
let browser;
let here;
let there;
let peer;

before(async () => {
  url = await serve();
  server = await Process.start('server', '0');
  native = await Process.start('node', server.url);
  browser = await launch('chrome');
  [here, there] = [await tab(browser, url), await tab(browser, url)];
  await join(here, server.url);
  peer = await join(there, server.url);
  // Members that came at once are not known to each other at once.
  await eventually(5000, () => here.evaluate((peer) => call(peer, 'x').then(() => undefined, (error) => error.message), peer));
});

after(endAll);

/** What happened to the nodes is part of what a failure shows. */
afterEach(async (t) => {
  if (t.passed) return;
  for (const [name, page] of Object.entries({ here, there })) t.diagnostic(`${name}: ${(await page.evaluate(() => events)).join('\n')}`);
});

/** What a function in the first tab rejects with: its code, and whether it is an error of ours. */
function fails(page, run, ...args) {
  return page.evaluate(
    async (run, args) => {
      try {
        const done = await new Function(`return (${run})`)()(...args);
        return `it gave ${JSON.stringify(done)}`;
      } catch (error) {
        return { code: error.code ?? error.name, ours: error instanceof AtollError, says: error.message !== '' };
      }
    },
    run.toString(),
    args,
  );
}

const error = (code) => ({ code, ours: true, says: true });

test('functions go both ways, and come back', async () => {
  const said = await here.evaluate(async (peer) => {
    const echo = await node.peer(peer).service('Echo');
    return [await echo.deep.x.f(21), await echo.twice((n) => n + 1, 40), await echo.twice(async (n) => `${n}!`, 'a')];
  }, peer);
  assert.deepEqual(said, [42, 42, 'a!!']);
});

test('a service says what it has', async () => {
  const shape = await here.evaluate((peer) => node.peer(peer).describe('Echo'), peer);
  assert.deepEqual(Object.keys(shape.members).sort(), ['a', 'count', 'deep', 'echo', 'twice']);
  const { a, count, deep, echo } = shape.members;
  assert.equal(a.value.kind, 'text');
  assert.deepEqual([echo.function.gives, count.function.gives], ['any', 'stream']);
  assert.ok(deep.object.members.x.object.members.f.function);
});

test('an async generator gives its results one by one, and hears when nobody wants more', async () => {
  await there.evaluate(async () => {
    globalThis.ended = new Promise((resolve) => {
      globalThis.endless = {
        async *numbers() {
          try {
            for (let at = 0; ; at += 1) yield at;
          } finally {
            resolve('ended');
          }
        },
      };
    });
    await node.provide('Endless', globalThis.endless);
  });
  const taken = await here.evaluate(async (peer) => {
    const endless = await node.peer(peer).service('Endless');
    const taken = [];
    for await (const number of endless.numbers()) {
      taken.push(number);
      if (taken.length === 3) break;
    }
    const echo = await node.peer(peer).service('Echo');
    for await (const number of echo.count(3)) taken.push(number);
    return taken;
  }, peer);
  assert.deepEqual(taken, [0, 1, 2, 0, 1, 2]);
  assert.equal(await there.evaluate(() => globalThis.ended), 'ended');
});

test('values of every kind come back as they went', async () => {
  const same = await here.evaluate(async (peer) => {
    const echo = await node.peer(peer).service('Echo');
    const bytes = await echo.echo(new Uint8Array([0, 255]));
    const values = [null, true, 0, -1.5, 2 ** 53 - 1, '', '$0', [1, [2]], { a: { __proto__: null, b: 1 } }];
    return [
      bytes instanceof Uint8Array && bytes[1] === 255,
      (await echo.echo(2n ** 60n)) === 2n ** 60n,
      Object.is(await echo.echo(-0), -0),
      Number.isNaN(await echo.echo(NaN)),
      JSON.stringify(await echo.echo(values)) === JSON.stringify(values),
      Object.hasOwn(await echo.echo(JSON.parse('{"__proto__": 1}')), '__proto__'),
    ];
  }, peer);
  assert.deepEqual(same, [true, true, true, true, true, true]);
});

test('a value that is watched tells each change', async () => {
  const seen = await here.evaluate(async () => {
    const service = await node.provide('Counter', { n: 0 });
    const seen = [];
    for await (const n of node.peer(node.id).watch('Counter', 'n')) {
      seen.push(n);
      if (n === 2) break;
      service.set('n', n + 1);
    }
    service.withdraw();
    return seen;
  });
  assert.deepEqual(seen, [0, 1, 2]);
});

test('what is stored is found by another, also under a name of its own', async () => {
  const keys = await here.evaluate(async () => [await node.put('hello'), await node.putEntry('one', new Uint8Array([1]))]);
  const found = await there.evaluate(async (keys) => {
    const [text, bytes] = await Promise.all(keys.map((key) => node.get(key)));
    return [new TextDecoder().decode(text), [...bytes], await node.get('0'.repeat(64))];
  }, keys);
  assert.deepEqual(found.slice(0, 2), ['hello', [1]]);
  assert.equal(found[2] ?? undefined, undefined);
  assert.equal(keys[1], await here.evaluate(async () => {
    await node.delete('one');
    return `${node.key}/one`;
  }));
  assert.equal((await there.evaluate((key) => node.get(key), keys[1])) ?? undefined, undefined);
});

test('a channel brings what is published to all members, as what it was', async () => {
  await there.evaluate(async () => {
    globalThis.news = await node.channel('news');
    globalThis.heard = [];
    globalThis.hearing = (async () => {
      for await (const { publisher, scope, message, missed } of news.subscribe('sports')) heard.push({ publisher, scope, message, missed });
    })();
  });
  const [mine, sequences] = await here.evaluate(async () => {
    const news = await node.channel('news');
    const own = news.subscribe();
    const sequences = [];
    for (const value of ['3:1', { home: 3, at: [1.5, null] }, new Uint8Array([7]), 12n]) sequences.push(await news.publish('sports', value));
    await news.publish('weather', 'rain');
    const mine = [];
    for await (const { message, sequence } of own) {
      mine.push([sequence, message instanceof Uint8Array ? 'bytes' : message]);
      if (message === 'rain') break;
    }
    await news.leave();
    return [mine, sequences];
  });
  assert.deepEqual(mine.map(([, message]) => message), ['3:1', { home: 3, at: [1.5, null] }, 'bytes', 12, 'rain']);
  assert.deepEqual(mine.slice(0, 4).map(([sequence]) => sequence), sequences);
  await eventually(5000, () => there.evaluate(() => (heard.length === 4 ? undefined : `it heard ${JSON.stringify(heard)}`)));
  const heard = await there.evaluate(async () => {
    await news.leave();
    await hearing;
    return heard.map(({ publisher, scope, message, missed }) => [publisher, scope, message instanceof Uint8Array ? 'bytes' : message, missed]);
  });
  const sender = await here.evaluate(() => node.id);
  assert.deepEqual(heard.map(([, , message]) => message), ['3:1', { home: 3, at: [1.5, null] }, 'bytes', 12]);
  assert(heard.every(([publisher, scope, , missed]) => publisher === sender && scope === 'sports' && missed === 0));
});

test('a channel that is joined twice is left by each, and what waits for its messages ends', async () => {
  const ends = await here.evaluate(async () => {
    const [one, two] = [await node.channel('twice'), await node.channel('twice')];
    const [ones, twos] = [one.subscribe(), two.subscribe()];
    const waiting = ones.next();
    await one.leave();
    const ended = [(await waiting).done, (await ones.next()).done, one.left];
    await two.publish('x', 'still here');
    const { value } = await twos.next();
    const aborted = two.subscribe('x', { signal: AbortSignal.timeout(50) });
    const reason = await aborted.next().catch((error) => error.name);
    const last = twos.next();
    await two.leave();
    return [...ended, value.message, reason, (await last).done];
  });
  assert.deepEqual(ends, [true, true, true, 'still here', 'TimeoutError', true]);
});

test('a channel tells who is there, and a private one is for those who know its secret', async () => {
  const secret = 'sixteen or more bytes';
  const seen = await there.evaluate(async (secret) => {
    globalThis.ours = await node.channel('ours', { secret });
    globalThis.seen = [];
    for (const type of ['memberjoin', 'memberupdate', 'memberleave']) ours.addEventListener(type, ({ detail }) => seen.push([type, detail.data]));
  }, secret);
  assert.equal(seen, undefined);
  await here.evaluate(async (secret) => {
    const ours = await node.channel('ours', { secret });
    await ours.announce({ name: 'a' });
    await ours.announce({ name: 'b' });
    await ours.leave();
  }, secret);
  const expected = [['memberjoin', { name: 'a' }], ['memberupdate', { name: 'b' }], ['memberleave', undefined]];
  await eventually(5000, () => there.evaluate((wanted) => (JSON.stringify(seen) === wanted ? undefined : JSON.stringify(seen)), JSON.stringify(expected)));
  assert.deepEqual(await there.evaluate(() => ours.members), []);
  await there.evaluate(() => ours.leave());
});

test('a node shows its place on the ring, and the way to others', async () => {
  const [status, found, hops, hash] = await here.evaluate(async (peer) => {
    const { Id } = await import('/js/index.js');
    const hash = await Id.hash('hello');
    return [await node.status(), await node.lookup(peer), await node.trace(peer), hash === (await node.lookup('hello')).point ? hash : 'another'];
  }, peer);
  assert.equal(status.phase, 'member');
  assert.deepEqual(status.arc, { after: status.predecessors[0], upTo: status.id });
  assert(status.links.some((link) => link.peer === peer && ['ring', 'join'].includes(link.kind)), JSON.stringify(status.links));
  assert.equal(found.owner, peer);
  assert(found.hops >= 1);
  assert.equal(hops.at(-1).id, peer);
  assert(hops.every(({ time }) => time > 0 && time < 1000), JSON.stringify(hops));
  // The first 48 bits of SHA-1.
  assert.equal(hash, 'aaf4c61ddcc5');
});

test('a peer is found by its name', async () => {
  await there.evaluate(() => node.claim('there'));
  assert.equal(await here.evaluate(() => call('@there', 'by name')), 'by name');
});

test('a wrong use is an error with a code', async () => {
  const cases = [
    [() => Atoll.join(), 'wrong-arguments'],
    [() => Atoll.join({}), 'wrong-arguments'],
    [() => Atoll.join({ signalling: 'http://nowhere' }), 'wrong-arguments'],
    [() => Atoll.join({ signalling: 'ws://127.0.0.1:1', links: 'many' }), 'wrong-arguments'],
    [() => Atoll.join({ signalling: 'ws://127.0.0.1:1', colour: 'red' }), 'wrong-arguments'],
    [() => Atoll.join({ signalling: 'ws://127.0.0.1:1', key: new Uint8Array(3) }), 'wrong-arguments'],
    [() => Atoll.join({ signalling: 'ws://127.0.0.1:1' }), 'no-such-peer'],
    [() => node.dial(7), 'wrong-arguments'],
    [() => node.dial('nobody'), 'no-such-peer'],
    [() => node.dial('00f3a1b2c4d5'), 'no-such-peer'],
    [() => node.dial(node.id), 'wrong-arguments'],
    [() => node.peer('@nobody-has-this').services(), 'no-such-peer'],
    [() => node.provide('', {}), 'wrong-arguments'],
    [() => node.provide('a.b', {}), 'bad-name'],
    [() => node.provide('Echo', {}), 'name-taken'],
    [() => node.provide('Map', { map: new Map() }), 'malformed'],
    [() => node.listen().next(), 'name-taken'],
    [() => node.get('no key'), 'wrong-arguments'],
    [() => node.put(7), 'wrong-arguments'],
    [() => node.put(new Uint8Array(1 << 20)), 'too-large'],
    [() => node.putEntry('', 'x'), 'wrong-arguments'],
    [() => node.channel(''), 'wrong-arguments'],
    [() => node.channel('ours', { secret: 'short' }), 'wrong-arguments'],
    [() => node.channel('ours', { signed: 'yes' }), 'wrong-arguments'],
    [async () => (await node.channel('bad')).publish(7, 'x'), 'wrong-arguments'],
    [async () => (await node.channel('bad')).publish('x', () => {}), 'malformed'],
    [async () => (await node.channel('bad')).publish('x', 'x'.repeat(16 * 1024)), 'too-large'],
    [async () => (await node.channel('bad')).announce('x'.repeat(2000)), 'too-large'],
    [async () => (await node.channel('bad')).announce(1n), 'malformed'],
    [
      async () => {
        const bad = await node.channel('bad');
        await bad.leave();
        return bad.publish('x', 'y');
      },
      'closed',
    ],
    [() => node.trace('00f3a1b2c4d5'), 'no-such-peer'],
    [() => node.handle('x', 7), 'wrong-arguments'],
    [() => node.handle('sea:nearest', () => 1), 'name-taken'],
    [() => node.call('00f3a1b2c4d5', 'x', 'no array'), 'wrong-arguments'],
    [() => node.peer(node.id).call('Echo', 'echo', 'no array'), 'wrong-arguments'],
    [() => node.updateFinger(48), 'wrong-arguments'],
  ];
  for (const [run, code] of cases) assert.deepEqual(await fails(here, run), error(code), run.toString());
});

test('a wrong use of another node is an error with a code', async () => {
  await there.evaluate(() =>
    node.provide('Bad', {
      throws: () => {
        throw Object.assign(new Error('no'), { data: { why: 'because' } });
      },
      rejects: () => Promise.reject(new Error('no')),
      text: () => Promise.reject('no'),
      symbol: () => Symbol('no'),
      never: () => new Promise(() => {}),
      async *half() {
        yield 1;
        throw new Error('no');
      },
    }),
  );
  const cases = [
    [async (peer) => (await node.peer(peer).service('Nothing')).f(), 'no-such-service'],
    [(peer) => node.peer(peer).call('Echo', 'nothing'), 'no-such-function'],
    [(peer) => node.peer(peer).get('Echo', 'nothing'), 'no-such-value'],
    [(peer) => node.peer(peer).call('Bad', 'throws'), 'failed'],
    [(peer) => node.peer(peer).call('Bad', 'rejects'), 'failed'],
    [(peer) => node.peer(peer).call('Bad', 'text'), 'failed'],
    [(peer) => node.peer(peer).call('Bad', 'symbol'), 'failed'],
    [(peer) => node.peer(peer).call('Bad', 'never', [], { timeout: 100 }), 'timed-out'],
    [(peer) => node.peer(peer).call('Echo', 'echo', [Symbol('no')]), 'malformed'],
    [(peer) => node.peer(peer).call('Echo', 'echo', [new Set()]), 'malformed'],
    [
      (peer) => {
        const ring = {};
        ring.ring = ring;
        return node.peer(peer).call('Echo', 'echo', [ring]);
      },
      'too-large',
    ],
    [
      async (peer) => {
        for await (const item of node.peer(peer).stream('Bad', 'half')) if (item !== 1) return item;
        return 'no error';
      },
      'failed',
    ],
  ];
  for (const [run, code] of cases) assert.deepEqual(await fails(here, run, peer), error(code), run.toString());
  const data = await here.evaluate((peer) => node.peer(peer).call('Bad', 'throws').catch((error) => [error.message, error.data]), peer);
  assert.deepEqual(data, ['no', { why: 'because' }]);
});

test('a signal gives up what waits, and the other node hears of it', async () => {
  await there.evaluate(() => {
    globalThis.givenUp = new Promise((resolve) => {
      node.provide('Slow', {
        wait() {
          this.signal.addEventListener('abort', () => resolve('given up'));
          return new Promise(() => {});
        },
      });
    });
  });
  const run = (peer) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    return node.peer(peer).call('Slow', 'wait', [], { signal: controller.signal });
  };
  assert.deepEqual(await fails(here, run, peer), { code: 20, ours: false, says: true });
  assert.equal(await there.evaluate(() => globalThis.givenUp), 'given up');
});

test("webrtc-explorer's names work", async () => {
  const said = await there.evaluate(async (signalling) => {
    const { explorer } = await import('/js/explorer.js');
    const mine = explorer({ signalling });
    const code = await Promise.resolve().then(() => mine.dial('00f3a1b2c4d5')).catch((error) => error.code);
    const listener = mine.createListener((socket) => {
      socket.on('data', (bytes) => socket.write(bytes)).on('end', () => socket.end());
    });
    await new Promise((resolve, reject) => listener.listen((error) => (error ? reject(error) : resolve())));
    const echoed = await new Promise((resolve, reject) => {
      const socket = mine.dial(node.id, (error) => error && reject(error));
      socket.on('data', (bytes) => resolve(new TextDecoder().decode(bytes))).on('error', reject);
      socket.end('hello');
    });
    const answered = await say(mine.node.id, 'and back');
    // Links of a node that has just joined are still being made, and a row may have to wait for one.
    let rows = [];
    for (const until = Date.now() + 5000; rows.length === 0 && Date.now() < until; ) rows = Object.values(await mine.updateFingerTable());
    await new Promise((resolve) => listener.close(resolve));
    return [code, echoed, answered, rows.length > 0 && rows.every((id) => id.length === 12)];
  }, server.url);
  assert.deepEqual(said, ['closed', 'hello', 'and back', true]);
});

test('a key that is kept is the same after a reload, and no two tabs have it', async () => {
  const [one, two] = [await tab(browser, url), await tab(browser, url)];
  const first = await join(one, server.url, { key: 'me' });
  const second = await join(two, server.url, { key: 'me' });
  assert.notEqual(first, second);
  await one.reload();
  await one.waitForFunction(() => globalThis.ready !== undefined);
  assert.equal(await join(one, server.url, { key: 'me' }), first);
  await Promise.all([one.close(), two.close()]);
});

test('a closed node says so', async () => {
  const page = await tab(browser, url);
  await join(page, server.url);
  await page.evaluate(() => node.close());
  for (const run of [() => node.dial('00f3a1b2c4d5'), () => node.peer('00f3a1b2c4d5').services(), () => node.put('x')]) {
    assert.deepEqual(await fails(page, run), error('closed'), run.toString());
  }
  assert.equal((await page.evaluate(() => node.status())) ?? undefined, undefined);
  await page.close();
});

test('nothing was said that nobody asked for', async () => {
  assert.deepEqual(await native.ask(`call ${peer}`), { said: 'Hello world!' });
  for (const page of [here, there]) {
    assert.deepEqual(await page.evaluate(() => globalThis.unhandled), []);
    assert.deepEqual(page.said.filter((line) => !line.includes('WebSocket connection to')), []);
  }
});
