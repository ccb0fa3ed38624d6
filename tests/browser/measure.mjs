// Measures tabs: `node measure.mjs SIGNALLING [chrome|firefox]`. A line of JSON for each figure.

import { endAll, eventually, join, launch, measuring, serve } from './support.mjs';

const [signalling, kind = 'chrome'] = process.argv.slice(2);
/** Ours and the plain data channel take turns, so that what else the machine does meets both. */
const ROUNDS = 10;
/** Round trips in a round. */
const TRIPS = 50;
/** Bytes of a stream in a round; there are half as many of those. */
const BYTES = 8 * 1024 * 1024;
const RING = 10;
const JOINS = 100;

function say(figure) {
  console.log(JSON.stringify(figure));
}

function percentile(times, share) {
  return [...times].sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(share * times.length))];
}

/** Joins two tabs by a plain data channel. */
async function plain(here, there, options) {
  const offer = await here.evaluate((options) => rawBegin(options), options);
  const answer = await there.evaluate((options, offer) => rawBegin(options, offer), options, offer);
  await here.evaluate((answer) => rawAccept(answer), answer);
}

async function main() {
  const url = await serve({ isolated: true });
  const browser = await launch(kind);
  const [here, there] = [await measuring(browser, url), await measuring(browser, url)];
  const ids = [await join(here, signalling), await join(there, signalling)];
  await eventually(5000, () => here.evaluate((peer) => (node.peers.includes(peer) ? undefined : 'no link'), ids[1]));

  await plain(here, there, { ordered: true });
  await there.evaluate(() => rawEcho());
  const trips = (name, ...args) => here.evaluate((name, args) => globalThis[name](...args), name, args);
  const [raw, socket, call] = [[], [], []];
  for (let round = 0; round <= ROUNDS; round += 1) {
    const times = [await trips('rawTrips', TRIPS), await trips('socketTrips', ids[1], TRIPS), await trips('callTrips', ids[1], TRIPS)];
    // The first round warms up.
    if (round > 0) [raw, socket, call].forEach((all, at) => all.push(...times[at]));
  }
  const [plainMedian, socketMedian] = [percentile(raw, 0.5), percentile(socket, 0.5)];
  say({ name: `${kind}: 64 B there and back, plain data channel, p50`, value: plainMedian, unit: 'ms', p99: percentile(raw, 0.99) });
  say({ name: `${kind}: 64 B there and back, socket over one link, p50`, value: socketMedian, unit: 'ms', p99: percentile(socket, 0.99) });
  say({ name: `${kind}: a call with 64 B, p50`, value: percentile(call, 0.5), unit: 'ms', p99: percentile(call, 0.99) });
  say({ name: `${kind}: socket to plain data channel, p50`, value: socketMedian / plainMedian, unit: 'times', at_most: 3 });

  const [rawRates, rates] = [[], []];
  for (let round = 0; round < ROUNDS / 2; round += 1) {
    const counted = there.evaluate((bytes) => rawCount(bytes), BYTES);
    await here.evaluate((bytes) => rawSend(bytes), BYTES);
    rawRates.push((await counted) / 2 ** 20);
    const received = there.evaluate(() => socketCount());
    await here.evaluate((peer, bytes) => socketSend(peer, bytes), ids[1], BYTES);
    rates.push((await received) / 2 ** 20);
  }
  const [rawRate, rate] = [percentile(rawRates, 0.5), percentile(rates, 0.5)];
  say({ name: `${kind}: stream, plain data channel`, value: rawRate, unit: 'MiB/s' });
  say({ name: `${kind}: stream, socket over one link`, value: rate, unit: 'MiB/s' });
  say({ name: `${kind}: stream of a socket to that of a plain data channel`, value: rate / rawRate, unit: 'times', at_least: 0.5 });

  const pages = [here, there];
  while (pages.length < RING) {
    const page = await measuring(browser, url);
    ids.push(await join(page, signalling));
    pages.push(page);
  }
  const rounds = [];
  for (const [at, page] of pages.entries()) rounds.push(...(await page.evaluate((peer) => socketTrips(peer, 20), ids[(at + RING / 2) % RING])));
  say({ name: `${kind}: 64 B there and back in a ring of ${RING} tabs, p50`, value: percentile(rounds, 0.5), unit: 'ms', p99: percentile(rounds, 0.99) });
  for (const page of pages.splice(2)) await page.close();

  const one = await measuring(browser, url);
  const visits = await one.evaluate((signalling, joins) => joinAndLeave(signalling, joins), signalling, JOINS);
  const [settled, last] = [visits[Math.floor(JOINS / 5)], visits.at(-1)];
  say({ name: `${kind}: memory of the module after ${JOINS} joins and leaves`, value: last.bytes / 2 ** 20, unit: 'MiB' });
  say({ name: `${kind}: that to its memory after ${JOINS / 5}`, value: last.bytes / settled.bytes, unit: 'times', at_most: 1.1 });
  say({ name: `${kind}: connections made for a join`, value: last.made / JOINS, unit: 'connections' });
  say({ name: `${kind}: connections left open by ${JOINS} joins and leaves`, value: last.open, unit: 'connections', at_most: 4 });
}

try {
  await main();
} finally {
  await endAll();
}
