// One tab and one native node.

import assert from 'node:assert';
import { after, before, describe, test } from 'node:test';
import { endAll, eventually, join, launch, Process, serve, tab } from './support.mjs';

let url;
let server;
let native;

before(async () => {
  url = await serve();
  server = await Process.start('server', '0');
  native = await Process.start('node', server.url);
});

after(endAll);

for (const kind of ['chrome', 'firefox']) {
  describe(kind, () => {
    let page;
    let id;

    before(async () => {
      page = await tab(await launch(kind), url);
      id = await join(page, server.url);
    });

    test('a tab and a native node link', async () => {
      await eventually(5000, async () => {
        const peers = await page.evaluate(() => node.peers);
        return peers.includes(native.id) ? undefined : `the tab is linked to ${peers}`;
      });
      const status = await native.ask('status');
      assert(status.peers.some((peer) => peer.id === id));
    });

    test('each dials the other', async () => {
      assert.equal(await page.evaluate((peer) => say(peer, 'hello'), native.id), 'hello');
      assert.deepEqual((await native.ask(`reach 5 ${id}`)).failed, {});
    });

    test('each calls the other', async () => {
      assert.equal(await page.evaluate((peer) => call(peer, 'Hello world!'), native.id), 'Hello world!');
      assert.equal(await page.evaluate(async (peer) => (await node.peer(peer).service('Echo')).a, native.id), 'information here');
      assert.deepEqual(await native.ask(`call ${id}`), { said: 'Hello world!' });
    });

    test('nothing was said that nobody asked for', async () => {
      assert.deepEqual(await page.evaluate(() => globalThis.unhandled), []);
      assert.deepEqual(page.said, []);
      await page.evaluate(() => node.close());
    });
  });
}
