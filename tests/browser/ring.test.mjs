// One ring of tabs and native nodes: started at once, used by all, joined, left, crashed, and without its signalling server in the end.

import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { endAll, eventually, join, launch, Process, serve, tab } from './support.mjs';

/** How long the ring may take to come about, and to heal, in milliseconds. */
const [FORMED, HEALED] = [15_000, 10_000];

/** A node of the ring, whatever it runs in: its id, its status, and how it uses another. */
class Tab {
  static async open(browser, url) {
    const opened = new Tab();
    opened.page = await tab(browser, url);
    return opened;
  }

  async join(signalling) {
    this.id = await join(this.page, signalling);
  }

  status() {
    return this.page.evaluate(() => node.status());
  }

  /** What is wrong with the way to a peer; `undefined` if nothing is. */
  use(peer) {
    return this.page.evaluate(async (peer) => {
      try {
        const [said, called] = await Promise.all([say(peer, 'are you there?'), call(peer, 'Hello world!')]);
        return said === 'are you there?' && called === 'Hello world!' ? undefined : `it said ${said} and ${called}`;
      } catch (error) {
        return `${error.code}: ${error.message}`;
      }
    }, peer);
  }
}

class Native {
  async join(signalling) {
    this.process = await Process.start('node', signalling);
    this.id = this.process.id;
  }

  status() {
    return this.process.ask('status');
  }

  async use(peer) {
    const { failed } = await this.process.ask(`reach 10 ${peer}`);
    const { said, error } = await this.process.ask(`call ${peer}`);
    if (Object.keys(failed).length > 0) return JSON.stringify(failed);
    return said === 'Hello world!' ? undefined : (error ?? `it said ${said}`);
  }
}

/** What is wrong with a ring; `undefined` if nothing is. */
async function wrongWith(nodes) {
  const ring = nodes.map(({ id }) => id).sort();
  const statuses = await Promise.all(nodes.map((node) => node.status()));
  for (const { id, phase, predecessors, successors } of statuses) {
    const at = ring.indexOf(id);
    const [before, behind] = [ring.at(at - 1), ring[(at + 1) % ring.length]];
    if (phase !== 'member') return `${id} is ${phase}`;
    if (predecessors[0] !== before) return `${id} has ${predecessors[0]} before it, not ${before}`;
    if (successors[0] !== behind) return `${id} has ${successors[0]} behind it, not ${behind}`;
  }
  return undefined;
}

/** Every node uses every other, one after the other at each node, and all nodes at once. */
async function everyPairTalks(nodes) {
  const complaints = [];
  const from = async (node) => {
    for (const peer of nodes) {
      if (peer === node) continue;
      const complaint = await node.use(peer.id);
      if (complaint !== undefined) complaints.push(`${node.constructor.name} ${node.id} to ${peer.constructor.name} ${peer.id}: ${complaint}`);
    }
  };
  await Promise.all(nodes.map(from));
  assert.deepEqual(complaints, []);
}

let url;
let server;
let chrome;
let tabs;
let nodes;

before(async () => {
  url = await serve();
  server = await Process.start('server', '0');
  const [chromium, firefox] = await Promise.all([launch('chrome'), launch('firefox')]);
  chrome = chromium;
  tabs = [];
  for (const browser of [chromium, chromium, chromium, chromium, firefox, firefox]) tabs.push(await Tab.open(browser, url));
  nodes = [...tabs, new Native(), new Native(), new Native(), new Native()];
});

after(endAll);

test('4 tabs of Chromium, 2 of Firefox and 4 native nodes that start at once are one ring', async (t) => {
  const start = Date.now();
  await Promise.all(nodes.map((node) => node.join(server.url)));
  await eventually(FORMED - (Date.now() - start), () => wrongWith(nodes));
  t.diagnostic(`after ${Date.now() - start} ms`);
});

test('every pair dials and calls', async (t) => {
  const start = Date.now();
  await everyPairTalks(nodes);
  t.diagnostic(`after ${Date.now() - start} ms`);
});

test('one more tab joins', async (t) => {
  const late = await Tab.open(chrome, url);
  const start = Date.now();
  await late.join(server.url);
  tabs.push(late);
  nodes.push(late);
  await eventually(HEALED, () => wrongWith(nodes));
  t.diagnostic(`after ${Date.now() - start} ms`);
});

test('a tab is closed and another crashes, and the ring heals', async (t) => {
  const [closed, crashed] = tabs.splice(0, 2);
  nodes = nodes.filter((node) => node !== closed && node !== crashed);
  const session = await crashed.page.createCDPSession();
  const start = Date.now();
  // Nobody answers this.
  session.send('Page.crash').catch(() => {});
  await closed.page.close();
  await eventually(HEALED, () => wrongWith(nodes));
  t.diagnostic(`after ${Date.now() - start} ms`);
});

test('without the signalling server all still talk', async () => {
  await server.kill();
  await everyPairTalks(nodes);
  assert.equal(await wrongWith(nodes), undefined);
});

test('nothing was said that nobody asked for', async () => {
  for (const { page } of tabs) assert.deepEqual(await page.evaluate(() => globalThis.unhandled), []);
});
