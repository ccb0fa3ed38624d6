// The package as npm packs and installs it: in a page without a bundler, with Vite (served and built), and with TypeScript.

import assert from 'node:assert';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build, createServer, preview } from 'vite';
import { endAll, ending, launch, Process, serve } from './support.mjs';

const here = fileURLToPath(new URL('./', import.meta.url));
const app = path.join(here, 'app');
const installed = path.join(here, 'node_modules/atoll-web');

let server;
let browser;

before(async () => {
  const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', here, path.join(here, '../../browser')], { encoding: 'utf8' });
  const file = path.join(here, packed.trim().split('\n').at(-1));
  // As `npm install` of this file does it, which would look at the registry besides.
  fs.rmSync(installed, { recursive: true, force: true });
  fs.mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', file, '-C', installed, '--strip-components=1']);
  fs.rmSync(file);
  server = await Process.start('server', '0');
  browser = await launch('chrome');
});

after(endAll);

/** What a page tells that joins the ring; it says what went wrong. */
async function told(url) {
  const page = await browser.newPage();
  const said = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('pageerror', (error) => said.push(String(error.stack ?? error)));
  await page.goto(`${url}?signalling=${encodeURIComponent(server.url)}`);
  await page.waitForFunction(() => globalThis.told !== undefined, { timeout: 30_000 }).catch(() => assert.fail(`it says nothing, but ${said}`));
  const told = await page.evaluate(() => globalThis.told);
  await page.close();
  return told;
}

const settings = { root: app, logLevel: 'warn', clearScreen: false };

test('the package has what it needs, and no more', () => {
  const files = fs.readdirSync(installed, { recursive: true }).map(String).sort();
  for (const needed of ['package.json', 'README.md', 'LICENSE-MIT', 'js/index.js', 'js/index.d.ts', 'wasm/atoll_web.js', 'wasm/atoll_web_bg.wasm']) {
    assert(files.includes(needed), `${needed} is missing in ${files}`);
  }
  assert(!files.some((file) => file.startsWith('src') || file.includes('Cargo')), String(files));
  const { exports: entries } = JSON.parse(fs.readFileSync(path.join(installed, 'package.json'), 'utf8'));
  for (const entry of Object.values(entries)) {
    for (const file of typeof entry === 'string' ? [entry] : Object.values(entry)) assert(fs.existsSync(path.join(installed, file)), file);
  }
});

test('a page without a bundler', async () => {
  assert.match(await told(`${await serve()}/app/plain.html`), /^[0-9a-f]{12}$/);
});

test("Vite's server", async () => {
  const vite = await createServer({ ...settings, cacheDir: path.join(here, 'node_modules/.vite-test'), server: { host: '127.0.0.1', port: 0 } });
  ending(() => vite.close());
  await vite.listen();
  assert.match(await told(vite.resolvedUrls.local[0]), /^[0-9a-f]{12} function false$/);
});

test('what Vite has built', async () => {
  await build({ ...settings, build: { target: 'es2022', outDir: path.join(here, 'artefacts/app'), emptyOutDir: true } });
  const built = await preview({ ...settings, build: { outDir: path.join(here, 'artefacts/app') }, preview: { host: '127.0.0.1', port: 0 } });
  ending(() => built.close());
  assert.match(await told(built.resolvedUrls.local[0]), /^[0-9a-f]{12} function false$/);
});

test('TypeScript, with the strictest settings for its bundler and without the newest library', () => {
  try {
    execFileSync('npx', ['--no-install', 'tsc', '--project', 'app'], { cwd: here, encoding: 'utf8' });
  } catch (error) {
    assert.fail(error.stdout);
  }
});
