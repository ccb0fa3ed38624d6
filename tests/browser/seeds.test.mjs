// The names of Sea, in two tabs. Those of webrtc-explorer are in face.test.mjs.

import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { endAll, eventually, launch, Process, serve, tab } from './support.mjs';

let server;
let pages;
let ids;

before(async () => {
  const url = await serve();
  server = await Process.start('server', '0');
  const browser = await launch('chrome');
  pages = [await tab(browser, url), await tab(browser, url)];
  for (const page of pages) {
    await page.evaluate(async () => {
      Object.assign(globalThis, await import('/js/sea.js'));
      globalThis.seen = [];
    });
  }
});

after(endAll);

/** Waits until a tab has seen this, in order. */
function sees(page, expected) {
  return eventually(5000, async () => {
    const seen = JSON.stringify(await page.evaluate(() => seen));
    return seen === JSON.stringify(expected) ? undefined : `it saw ${seen}`;
  });
}

test('a node goes online, and tells', async () => {
  const online = (signalling) => {
    sea.on('online', () => seen.push('online'));
    sea.on('offline', () => seen.push('offline'));
    sea.handle('twice', (n) => 2 * n);
    const before = sea.online();
    let code;
    try {
      sea.localId();
    } catch (error) {
      code = error.code;
    }
    return sea.goOnline([signalling]).then(() => [before, code, sea.online(), `${sea.localId()}`]);
  };
  const told = [];
  for (const page of pages) told.push(await page.evaluate(online, server.url));
  ids = told.map(([, , , id]) => id);
  for (const [was, code, is, id] of told) assert.deepEqual([was, code, is, id.length], [false, 'closed', true, 12]);
  for (const page of pages) await sees(page, ['online']);
  await eventually(5000, () => pages[0].evaluate((id) => (sea.connections().some((peer) => `${peer}` === id) ? undefined : 'no link'), ids[1]));
});

test('addresses are calls: to who owns them, and sea:nearest says who that is', async () => {
  const answers = await pages[0].evaluate(async (peer) => {
    const address = HashAddress.from(peer);
    const nearest = await sea.call(address, 'sea:nearest', address);
    const anywhere = (await HashAddress.make('anywhere')).randomise(4);
    const owner = await sea.call(anywhere, 'sea:nearest', anywhere);
    const code = await sea.call(address, 'nothing').catch((error) => error.code);
    return [nearest.equals(address), await sea.call(address, 'twice', 21), await sea.call(owner, 'twice', 1), code];
  }, ids[1]);
  assert.deepEqual(answers, [true, 42, 2, 'no-such-function']);
});

test('a connection carries values both ways, in order, and both ends see it end', async () => {
  await pages[1].evaluate(() => {
    seen.length = 0;
    sea.on('connection', (connection) => {
      connection.on('n', (n) => connection.send('back', n + 1));
      connection.on('disconnect', (error) => seen.push(['gone', error?.code]));
      seen.push(`${connection.remoteId()}`);
    });
  });
  const got = await pages[0].evaluate(async (peer) => {
    const connection = sea.connect(peer);
    const early = connection.connected();
    const back = [];
    const all = new Promise((resolve) => connection.on('back', (n) => back.push(n) === 100 && resolve()));
    for (let n = 0; n < 100; n += 1) connection.send('n', n);
    await all;
    const late = connection.connected();
    const codes = [];
    for (const wrong of [() => connection.send('connect', 1), () => connection.send('x', () => {}), () => connection.on('x')]) {
      try {
        wrong();
      } catch (error) {
        codes.push(error.code);
      }
    }
    const gone = new Promise((resolve) => connection.on('disconnect', resolve));
    connection.disconnect();
    await gone;
    try {
      connection.send('n', 1);
    } catch (error) {
      codes.push(error.code);
    }
    return [early, late, back, codes];
  }, ids[1]);
  const numbers = Array.from({ length: 100 }, (_, n) => n + 1);
  assert.deepEqual(got, [false, true, numbers, ['wrong-arguments', 'malformed', 'wrong-arguments', 'closed']]);
  await sees(pages[1], [ids[0], ['gone', null]]);
});

test('a connection to nobody ends with why', async () => {
  const code = await pages[0].evaluate(
    () => new Promise((resolve) => sea.connect('00f3a1b2c4d5').on('disconnect', (error) => resolve(error.code))),
  );
  assert.equal(code, 'no-such-peer');
});

test('a channel brings what is sent to all, and to nobody who has left', async () => {
  for (const page of pages) {
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          seen.length = 0;
          globalThis.news = sea.join('news');
          news.on('sports', (value) => seen.push(value));
          news.on('connect', resolve);
        }),
    );
  }
  await pages[0].evaluate(() => news.send('sports', { home: 3 }));
  for (const page of pages) await sees(page, [{ home: 3 }]);
  await pages[1].evaluate(() => news.disconnect());
  await pages[0].evaluate(() => news.send('sports', 'again'));
  await sees(pages[0], [{ home: 3 }, 'again']);
  await sees(pages[1], [{ home: 3 }]);
  assert.deepEqual(await pages[0].evaluate(() => [news.channelId(), news.connected()]), ['news', true]);
});

test("addresses are compared by Sea's measure", async () => {
  const told = await pages[0].evaluate(() => {
    const [zero, half, last] = ['000000000000', '800000000000', '000000000001'].map((digits) => HashAddress.from(digits));
    const random = half.randomise(1);
    return [
      zero.dist(half) === 2 ** 126,
      zero.dist(last) === 2 ** 79,
      // Sea's own example: 0b1111… and 0b1010111….
      HashAddress.from('ffffffffffff').dist(HashAddress.from('afffffffffff')) === 2 ** 125 + 2 ** 123,
      zero.logDist(half),
      zero.logDist(last),
      zero.logDist(zero),
      zero.equals(HashAddress.from(zero.getArrayBuffer())),
      `${random}`[0] >= '8',
      random.randomise(48).equals(random),
    ];
  });
  assert.deepEqual(told, [true, true, true, 0, 47, 48, true, true, true]);
});

test('offline it is gone, and comes back', async () => {
  await pages[1].evaluate(() => (seen.length = 0));
  const codes = await pages[1].evaluate(async (signalling) => {
    await sea.goOffline();
    const code = await sea.call('000000000000', 'twice', 1).catch((error) => error.code);
    await sea.goOnline(signalling);
    return [code, sea.online()];
  }, server.url);
  assert.deepEqual(codes, ['closed', true]);
  await sees(pages[1], ['offline', 'online']);
  // What it handled it handles again.
  const id = await pages[1].evaluate(() => `${sea.localId()}`);
  await eventually(5000, () => pages[0].evaluate((id) => sea.call(id, 'twice', 4).then((eight) => (eight === 8 ? undefined : `${eight}`), (error) => error.message), id));
  for (const page of pages) {
    assert.deepEqual(await page.evaluate(() => globalThis.unhandled), []);
    assert.deepEqual(page.said.filter((line) => !line.includes('WebSocket connection to')), []);
  }
});
