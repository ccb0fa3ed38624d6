// Where the time of a stream from tab to tab goes in Chromium: `node profile.mjs [FOLDER]`, after `cargo xtask web --names`, with
// ATOLL_TEST_NODE set to the program test-node. It prints what took longest in each tab, and writes its profile into the folder, for the
// developer tools of browsers.

import fs from 'node:fs';
import path from 'node:path';
import { endAll, eventually, join, launch, measuring, Process, serve } from './support.mjs';

const [folder] = process.argv.slice(2);
/** Bytes of the stream, of which a first one of as many warms up. */
const BYTES = 32 * 1024 * 1024;
/** Microseconds between two looks. */
const INTERVAL = 200;
const LINES = 25;

/** The shares of the time that passed in each function itself, the largest first. */
function shares({ nodes, samples, timeDeltas }) {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, callFrame.functionName || '(no name)']));
  const times = new Map();
  samples.forEach((id, at) => times.set(names.get(id), (times.get(names.get(id)) ?? 0) + timeDeltas[at]));
  const all = timeDeltas.reduce((sum, time) => sum + time, 0);
  return [...times].map(([name, time]) => [name, time / all]).sort((a, b) => b[1] - a[1]);
}

async function stream(here, there, peer) {
  const received = there.evaluate(() => socketCount());
  await here.evaluate((peer, bytes) => socketSend(peer, bytes), peer, BYTES);
  return (await received) / 2 ** 20;
}

async function main() {
  const url = await serve({ isolated: true });
  const server = await Process.start('server', '0');
  const browser = await launch('chrome');
  const [here, there] = [await measuring(browser, url), await measuring(browser, url)];
  const peer = (await Promise.all([join(here, server.url), join(there, server.url)]))[1];
  await eventually(5000, () => here.evaluate((peer) => (node.peers.includes(peer) ? undefined : 'no link'), peer));
  await stream(here, there, peer);
  const sessions = await Promise.all([here.createCDPSession(), there.createCDPSession()]);
  for (const session of sessions) {
    await session.send('Profiler.enable');
    await session.send('Profiler.setSamplingInterval', { interval: INTERVAL });
    await session.send('Profiler.start');
  }
  console.log(`${(await stream(here, there, peer)).toFixed(1)} MiB/s while profiled`);
  for (const [name, session] of [['sender', sessions[0]], ['receiver', sessions[1]]]) {
    const { profile } = await session.send('Profiler.stop');
    console.log(name);
    for (const [what, share] of shares(profile).slice(0, LINES)) console.log(`${(100 * share).toFixed(1).padStart(6)} %  ${what.slice(0, 100)}`);
    if (folder) fs.writeFileSync(path.join(folder, `${name}.cpuprofile`), JSON.stringify(profile));
  }
}

try {
  await main();
} finally {
  await endAll();
}
