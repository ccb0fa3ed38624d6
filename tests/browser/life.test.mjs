// The life of a tab: left, in the background, frozen, without a network; and what it leaves behind.

import assert from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { endAll, eventually, freeze, join, launch, Process, serve, tab } from './support.mjs';

/** After this long a peer that says nothing is given up, in milliseconds: `dead_after` of the protocol, and a look at it. */
const GIVEN_UP = 6500;

let url;
let server;
let native;
let other;
/** The one that the tests of a `describe` run in. */
let browser;

before(async () => {
  url = await serve();
  server = await Process.start('server', '0');
  native = await Process.start('node', server.url);
  // So that the ring is there when a tab has gone: who is left alone founds it anew.
  other = await Process.start('node', server.url);
});

after(endAll);

/** A tab that is a member, and linked to the native node. What happens to its node is gathered. */
async function member(options) {
  const page = await tab(browser, url);
  page.id = await join(page, server.url, options);
  await page.evaluate(() => {
    globalThis.happened = [];
    for (const type of ['isolated', 'join', 'peerdisconnect', 'offline', 'online', 'signalling', 'signallinglost', 'leave']) {
      node.addEventListener(type, () => happened.push(type));
    }
  });
  await eventually(5000, () => sees(page.id));
  return page;
}

/** `undefined` if the native node has a link to a peer. */
async function sees(peer) {
  const { peers } = await native.ask('status');
  return peers.some(({ id, suspect }) => id === peer && !suspect) ? undefined : `linked to ${JSON.stringify(peers)}`;
}

/** `undefined` if it, or another, has none any more. */
async function misses(peer, by = native) {
  const { peers } = await by.ask('status');
  return peers.some(({ id }) => id === peer) ? 'still linked' : undefined;
}

/** Waits until all of this has happened to a tab's node. */
function hears(page, ...types) {
  return eventually(10_000, async () => {
    const happened = await page.evaluate(() => happened);
    return types.every((type) => happened.includes(type)) ? undefined : `it happened: ${happened}`;
  });
}

/** How many links the native node has given up for silence. */
async function dead() {
  return (await native.ask('status')).counters.protocol.dead;
}

for (const kind of ['chrome', 'firefox']) {
  describe(kind, () => {
    before(async () => {
      // As people have it: tabs that are not in front are slow.
      browser = await launch(kind, { throttled: true });
    });

    after(() => browser.close());

    test('a page that is left says goodbye', async (t) => {
      const page = await member();
      const before = await dead();
      const start = Date.now();
      await page.goto('about:blank');
      await eventually(3000, () => misses(page.id));
      t.diagnostic(`missed after ${Date.now() - start} ms`);
      assert.equal(await dead(), before, 'it was not given up for silence');
      await page.close();
    });

    test('a tab in the background stays a member, and answers', async (t) => {
      const page = await member();
      const before = await dead();
      const front = await tab(browser, url);
      await front.bringToFront();
      const hidden = await page.evaluate(() => document.visibilityState);
      t.diagnostic(`the tab is ${hidden}`);
      // Long enough to be given up, were it silent.
      const until = Date.now() + 2 * GIVEN_UP;
      let calls = 0;
      while (Date.now() < until) {
        assert.deepEqual(await native.ask(`call ${page.id}`), { said: 'Hello world!' });
        await new Promise((resolve) => setTimeout(resolve, 500));
        calls += 1;
      }
      assert.equal(await sees(page.id), undefined);
      assert.equal(await dead(), before, 'nobody was given up for silence');
      assert.deepEqual(await page.evaluate(() => happened.filter((type) => type !== 'signalling')), []);
      t.diagnostic(`${calls} calls`);
      await Promise.all([page.close(), front.close()]);
    });

    test('a tab that was frozen comes back within seconds', async (t) => {
      const page = await member();
      const wake = await freeze(browser, kind, page);
      try {
        await eventually(2 * GIVEN_UP, () => misses(page.id));
        await eventually(2 * GIVEN_UP, () => misses(page.id, other));
      } finally {
        await wake();
      }
      const start = Date.now();
      await eventually(10_000, () => sees(page.id));
      t.diagnostic(`back after ${Date.now() - start} ms`);
      await eventually(5000, async () => {
        const { said, error } = await native.ask(`call ${page.id}`);
        return said === 'Hello world!' ? undefined : error;
      });
      await hears(page, 'isolated', 'join');
      await page.close();
    });

    test('a tab whose network was gone comes back within seconds, and tells', async (t) => {
      const page = await member();
      // Links over the loopback do not mind, so they are cut, as a changed address would do it.
      await page.evaluate(() => {
        dispatchEvent(new Event('offline'));
        cutConnections();
      });
      await eventually(2 * GIVEN_UP, () => page.evaluate(() => (happened.includes('isolated') ? undefined : `${happened}`)));
      const start = Date.now();
      await page.evaluate(() => dispatchEvent(new Event('online')));
      await eventually(10_000, () => sees(page.id));
      t.diagnostic(`back after ${Date.now() - start} ms`);
      await hears(page, 'offline', 'online', 'isolated', 'join');
      await page.close();
    });

    test('a page whose node comes and goes keeps no connections', async () => {
      const page = await tab(browser, url);
      const counts = await page.evaluate(async (signalling) => {
        const counts = [];
        for (let round = 0; round < 10; round += 1) {
          const node = await Atoll.join({ signalling });
          await node.close();
          counts.push(Atoll.connections);
        }
        return counts;
      }, server.url);
      assert(counts.every(({ made }, at) => made > at), JSON.stringify(counts));
      await eventually(5000, async () => {
        const { open } = await page.evaluate(() => Atoll.connections);
        return open === 0 ? undefined : `${open} connections are open`;
      });
      // Created only when the other side has agreed: a node of a small ring needs one for each member, and few in vain.
      assert(counts.at(-1).made < 60, JSON.stringify(counts));
      await page.close();
    });
  });
}
