// Browsers, native nodes and the pages that tests run in: what all browser tests share.

import assert from 'node:assert';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import puppeteer from 'puppeteer-core';

/** The program that native nodes and the signalling server run as: atoll-tests' `test-node`. */
const TEST_NODE = process.env.ATOLL_TEST_NODE;

const PROGRAMS = {
  chrome: process.env.ATOLL_CHROMIUM ?? '/usr/bin/chromium',
  firefox: process.env.ATOLL_FIREFOX ?? '/usr/bin/firefox-esr',
};

/** Most tests look at many tabs, of which one is in front. */
const AWAKE = ['--disable-background-timer-throttling', '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows'];

const SETTINGS = {
  chrome: {
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...AWAKE,
    ],
  },
  firefox: {
    extraPrefsFirefox: {
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'dom.ipc.processCount': 2,
    },
  },
};

const repository = fileURLToPath(new URL('../../', import.meta.url));
const package_ = path.join(repository, 'browser');
const pages = fileURLToPath(new URL('./', import.meta.url));
const TYPES = { '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html' };

/** Everything that was started, for the end. */
const started = [];

/** Ends everything that was started. */
export async function endAll() {
  for (const end of started.splice(0).reverse()) await end().catch(() => {});
}

/** Has `end` called at the end. */
export function ending(end) {
  started.push(end);
}

/** A process of `test-node`. */
export class Process {
  constructor(...words) {
    assert(TEST_NODE, 'set ATOLL_TEST_NODE to the path of the program test-node');
    this.child = spawn(TEST_NODE, words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => this.child.once('exit', resolve));
    started.push(() => this.kill());
  }

  /** Starts one and waits for what it says first. */
  static async start(...words) {
    const process = new Process(...words);
    return Object.assign(process, await process.answer());
  }

  async answer() {
    const { value, done } = await this.lines.next();
    assert(!done, 'test-node has ended');
    return JSON.parse(value);
  }

  /** Gives a command and waits for the answer. */
  ask(command) {
    this.child.stdin.write(`${command}\n`);
    return this.answer();
  }

  /** At once, as a crash. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** What is served from where, by how its path begins. */
const ROOTS = [
  ['/js/', package_],
  ['/wasm/', package_],
  ['/browser/', repository],
  ['/examples/', repository],
  ['/', pages],
];

/** With these a page's clock counts microseconds, and not tenths of a millisecond. */
const ISOLATED = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };

/** Serves the package, the examples and the test pages; gives the URL. Pages that are to measure time are `isolated`. */
export async function serve({ isolated = false } = {}) {
  const server = http.createServer((request, response) => {
    const name = new URL(request.url, 'http://x').pathname;
    const root = ROOTS.find(([start]) => name.startsWith(start))[1];
    const file = path.join(root, path.normalize(name));
    fs.readFile(file, (error, bytes) => {
      if (error) return response.writeHead(404).end();
      response.writeHead(200, { ...(isolated && ISOLATED), 'content-type': TYPES[path.extname(file)] ?? 'text/plain' }).end(bytes);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  started.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** A browser, `chrome` or `firefox`; `throttled`, one that slows down the tabs that are not in front, as for people. */
export async function launch(kind, { throttled = false } = {}) {
  const settings = { ...SETTINGS[kind] };
  // Firefox is not told to keep them awake.
  if (throttled && kind === 'chrome') {
    settings.args = settings.args.filter((argument) => !AWAKE.includes(argument));
    settings.ignoreDefaultArgs = AWAKE;
  }
  const browser = await puppeteer.launch({ browser: kind, executablePath: PROGRAMS[kind], headless: true, ...settings });
  started.push(() => browser.close());
  return browser;
}

/** The numbers of all processes that a process has started, and those have. Linux only. */
function descendants(parent) {
  const of = (thread) => fs.readFileSync(`/proc/${parent}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  const children = fs.readdirSync(`/proc/${parent}/task`).flatMap(of);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** The processes that Firefox runs pages in. */
function processesOfPages(browser) {
  const isOne = (process) => fs.readFileSync(`/proc/${process}/cmdline`, 'utf8').includes(' -isForBrowser ');
  return descendants(browser.process().pid).filter(isOne);
}

/** Freezes a tab, as browsers do with those that were hidden for long; gives what wakes it. */
export async function freeze(browser, kind, page) {
  if (kind === 'chrome') {
    const session = await page.createCDPSession();
    await session.send('Page.setWebLifecycleState', { state: 'frozen' });
    return () => session.send('Page.setWebLifecycleState', { state: 'active' });
  }
  // Firefox cannot be asked to, so the pages' processes are stopped. It must have no other tab that is needed meanwhile.
  const stopped = processesOfPages(browser);
  assert(stopped.length > 0, 'no process of a page');
  stopped.forEach((one) => process.kill(one, 'SIGSTOP'));
  return () => stopped.forEach((one) => process.kill(one, 'SIGCONT'));
}

/** A tab with the module loaded; what it says on its console is said here. */
export async function tab(browser, url, said = []) {
  const page = await browser.newPage();
  page.said = said;
  page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => said.push(`error: ${error.stack ?? error}`));
  await page.goto(`${url}/page.html`);
  await page.waitForFunction(() => globalThis.ready !== undefined);
  return page;
}

/** A tab with what the measurements run in it. */
export async function measuring(browser, url) {
  const page = await tab(browser, url);
  await page.addScriptTag({ url: '/measure.js', type: 'module' });
  await page.waitForFunction(() => globalThis.joinAndLeave !== undefined);
  return page;
}

/** Joins the ring in a tab: the node is `node` there, echoes what is dialled and provides `Echo`. Gives its id. */
export function join(page, signalling, options = {}) {
  return page.evaluate((options) => globalThis.start(options), { signalling, ...options });
}

/** Asks until `ask` gives no complaint, which is then undefined; fails with the last complaint after so many milliseconds. */
export async function eventually(limit, ask) {
  const start = Date.now();
  for (;;) {
    const complaint = await ask();
    if (complaint === undefined) return Date.now() - start;
    if (Date.now() - start > limit) assert.fail(`after ${limit} ms: ${complaint}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
