// The examples of the folder `examples`, each in two tabs.

import assert from 'node:assert';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { endAll, eventually, launch, Process, serve } from './support.mjs';

let url;
let server;
let browser;

before(async () => {
  url = await serve();
  server = await Process.start('server', '0');
  browser = await launch('chrome');
});

after(endAll);

/** Opens an example; what goes wrong in it is gathered. */
async function open(name, hash = '') {
  const page = await browser.newPage();
  page.wrong = [];
  page.on('pageerror', (error) => page.wrong.push(String(error.stack ?? error)));
  await page.goto(`${url}/examples/${name}.html?signalling=${encodeURIComponent(server.url)}${hash}`);
  return page;
}

async function close(...pages) {
  for (const page of pages) {
    assert.deepEqual(page.wrong, []);
    await page.close();
  }
}

/** Waits until an element has a text that fits. */
function says(page, selector, pattern) {
  return eventually(15_000, async () => {
    const said = await page.$eval(selector, (element) => element.textContent);
    return pattern.test(said) ? undefined : `${selector} says ${said}`;
  });
}

test('what one draws on the whiteboard, all see, also who comes later', async () => {
  const here = await open('whiteboard');
  const there = await open('whiteboard');
  await says(here, '#people', /2 here/);
  await says(there, '#people', /2 here/);
  const ink = (page) => page.$eval('canvas', (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.reduce((sum, byte) => sum + byte, 0));
  assert.equal(await ink(there), 0);
  await here.bringToFront();
  await here.mouse.move(100, 300);
  await here.mouse.down();
  await here.mouse.move(300, 400, { steps: 10 });
  await here.mouse.up();
  await eventually(5000, async () => ((await ink(there)) > 0 ? undefined : 'the other tab shows nothing'));
  const late = await open('whiteboard');
  await eventually(15_000, async () => ((await ink(late)) > 0 ? undefined : 'the late tab shows nothing'));
  await close(here, there, late);
});

test('one tab is a robot, and another steers it', async () => {
  const robot = await open('robot');
  await says(robot, '#told', /This tab is the robot/);
  const link = await robot.$eval('#told a', (link) => link.href);
  const steering = await open('robot', new URL(link).hash);
  await says(steering, '#told', /You steer/);
  const place = (page) => page.$eval('#robot', ({ style }) => `${style.left} ${style.top}`);
  await eventually(5000, async () => ((await place(steering)) === '8rem 8rem' ? undefined : `it is at ${await place(steering)}`));
  await steering.bringToFront();
  await steering.click('[data-move="1,0"]');
  await steering.click('[data-move="0,-1"]');
  for (const page of [robot, steering]) {
    await eventually(5000, async () => ((await place(page)) === '10rem 6rem' ? undefined : `it is at ${await place(page)}`));
  }
  await steering.click('[data-say]');
  await says(steering, '#told', /beep from/);
  await close(steering, robot);
});

test('a file goes from one tab to another', async () => {
  const [here, there] = [await open('files'), await open('files')];
  await says(here, '#me', /^[0-9a-f]{12}$/);
  await says(there, '#me', /^[0-9a-f]{12}$/);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'atoll-example-'));
  const file = path.join(folder, 'letter.bin');
  const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, at) => (at * 7) & 0xff));
  fs.writeFileSync(file, bytes);
  try {
    // A tab that is not in front draws nothing, and cannot be clicked.
    await here.bringToFront();
    await (await here.$('input[name=file]')).uploadFile(file);
    await here.type('input[name=peer]', await there.$eval('#me', (me) => me.textContent));
    await here.click('button');
    await says(here, '#files', /letter\.bin to .* is there/);
    await says(there, '#files', /letter\.bin from .* save/);
    const got = await there.$eval('#files a', async (link) => [...new Uint8Array(await (await fetch(link.href)).arrayBuffer())]);
    assert(Buffer.from(got).equals(bytes), `${got.length} bytes came`);
    await here.$eval('input[name=peer]', (input) => (input.value = '00f3a1b2c4d5'));
    await here.click('button');
    await says(here, '#files', /no node on the ring holds this id/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
  await close(here, there);
});
