// The page of a signalling server: two tabs of it and four native nodes. What it looks like is kept in target/browser.

import assert from 'node:assert';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { endAll, eventually, launch, Process } from './support.mjs';

const PAGE = fileURLToPath(new URL('../../browser/dist', import.meta.url));
const PICTURES = fileURLToPath(new URL('../../target/browser/', import.meta.url));
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const WIDE = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** How long anything may take that a visitor waits for, in milliseconds. */
const SOON = 15_000;

/** A tab that has the page open, and is a member of the ring. */
class Visitor {
  static async come(browser, url, { hash = '', viewport = WIDE } = {}) {
    const visitor = new Visitor();
    visitor.page = await browser.newPage();
    visitor.said = [];
    visitor.page.on('console', (message) => ['error', 'warn'].includes(message.type()) && visitor.said.push(message.text()));
    visitor.page.on('pageerror', (error) => visitor.said.push(`error: ${error.stack ?? error}`));
    await visitor.page.setViewport(viewport);
    await visitor.page.goto(`${url}/${hash}`);
    await visitor.sees('body', (body) => (body.dataset.phase === 'member' ? undefined : `${body.dataset.phase}: ${body.innerText}`));
    visitor.id = await visitor.text('#own-id');
    return visitor;
  }

  text(selector) {
    return this.page.$eval(selector, (element) => element.innerText);
  }

  /** Waits until `complain` finds nothing wrong with an element. */
  sees(selector, complain, ...args) {
    return eventually(SOON, async () => {
      const element = await this.page.$(selector);
      return element ? element.evaluate(complain, ...args) : `there is no ${selector}`;
    });
  }

  shows(selector, text) {
    return this.sees(selector, (element, text) => (element.innerText.includes(text) ? undefined : `it says ${element.innerText}`), text);
  }

  /** Waits until the ring in the picture has these members, and no others. */
  seesRing(ids) {
    const wanted = [...ids].sort().join(' ');
    return this.sees('#ring', (svg, wanted) => (svg.dataset.members === wanted ? undefined : `${svg.dataset.members}, not ${wanted}`), wanted);
  }

  click(selector) {
    return this.page.$eval(selector, (element) => element.dispatchEvent(new MouseEvent('click', { bubbles: true })));
  }

  async fill(selector, text) {
    await this.page.$eval(
      selector,
      (input, text) => {
        input.value = text;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        input.form?.requestSubmit();
      },
      text,
    );
  }

  /** Chooses a node in the picture. */
  choose(id) {
    return this.click(`.dot[data-id="${id}"]`);
  }
}

fs.mkdirSync(PICTURES, { recursive: true });

for (const kind of ['chrome', 'firefox']) {
  describe(kind, () => {
    let browser;
    let url;
    let native;
    let here;
    let there;

    before(async () => {
      const server = await Process.start('server', '0', PAGE);
      url = server.url.replace('ws:', 'http:');
      native = await Promise.all(Array.from({ length: 4 }, () => Process.start('node', server.url)));
      browser = await launch(kind);
      here = await Visitor.come(browser, url);
    });

    after(endAll);

    test('the picture has all members', async () => {
      await here.seesRing([here.id, ...native.map(({ id }) => id)]);
      assert.equal(await here.text('#figure-nodes'), '5');
      await here.sees('#ring', (svg) => (svg.querySelectorAll('.links path').length > 0 ? undefined : 'no links'));
      await here.sees('#ring', (svg) => (svg.querySelector('.owned path') ? undefined : 'no arc of its own'));
    });

    test('a link that somebody got dials them, and both chat', async () => {
      there = await Visitor.come(browser, url, { hash: `#dial=${here.id}` });
      await here.seesRing([here.id, there.id, ...native.map(({ id }) => id)]);
      await here.shows('#chat-lines', 'has dialled you');
      await there.fill('#chat-text', 'Hello over there');
      await here.shows('#chat-lines', 'Hello over there');
      assert.equal(await here.page.$eval('#tab-chat', (tab) => 'new' in tab.dataset), true, 'a mark on the tab');
      await here.click('#tab-chat');
      await here.fill('#chat-text', '<b>Hello</b> back');
      await there.shows('#chat-lines', '<b>Hello</b> back');
    });

    test('a native node echoes', async () => {
      await here.choose(native[0].id);
      assert.equal(await here.text('#chat-lines'), '', 'another conversation');
      await here.fill('#chat-text', 'are you there?');
      await here.sees('#chat-lines', (lines) => (lines.querySelector('.theirs')?.innerText.includes('are you there?') ? undefined : lines.innerText));
      await there.fill('#chat-text', 'And another thing');
      await here.sees('.talk[data-new]', (talk, id) => (talk.title === id ? undefined : talk.title), there.id);
      await here.click('.talk[data-new]');
      await here.shows('#chat-lines', 'And another thing');
    });

    test('objects are called', async () => {
      await here.choose(native[1].id);
      await here.click('#tab-objects');
      await here.click('#objects-form button');
      await here.shows('#services', 'information here');
      await here.sees('#arguments-Echo-echo', () => undefined);
      await here.fill('#arguments-Echo-echo', '"Hello world!"');
      await here.shows('#services output:not(:empty)', 'Hello world!');
      await here.fill('#arguments-Echo-echo', 'no JSON');
      await here.shows('#services output.problem', 'JSON');

      await here.choose(there.id);
      await here.click('#objects-form button');
      await here.shows('#services', 'Hello from a browser tab!');
      await here.fill('#arguments-Page-paint', '"rgb(1, 2, 3)"');
      await there.sees('.lagoon', (lagoon) => (lagoon.style.fill === 'rgb(1, 2, 3)' ? undefined : `it is ${lagoon.style.fill}`));
      await here.fill('#arguments-Page-wave', '"a friend"');
      await there.shows('#toasts', 'a friend waves at you');
      await here.fill('#arguments-Page-count', '2');
      await here.sees('#services', (list) => ([...list.querySelectorAll('output')].some((output) => /1\s+2/.test(output.innerText)) ? undefined : list.innerText));
    });

    test('what is said on a channel comes to all', async () => {
      for (const [visitor, nick] of [[here, 'Ann'], [there, 'Bob']]) {
        await visitor.click('#tab-channel');
        await visitor.page.$eval('#channel-nick', (input, nick) => (input.value = nick), nick);
        await visitor.click('#channel-join');
        await visitor.sees('#channel-room', (room) => (room.hidden ? document.querySelector('#channel-problem').innerText || 'not joined' : undefined));
      }
      await here.shows('#channel-members', 'Bob');
      await there.fill('#channel-text', 'Hello, all');
      for (const visitor of [here, there]) await visitor.shows('#channel-lines', 'Hello, all');
      await here.shows('#channel-lines', 'Bob');
    });

    test('a lookup draws its path', async () => {
      await here.click('#tab-lookup');
      await here.fill('#lookup-text', 'Hello world!');
      await here.shows('#lookup-result', 'd3486ae9136e');
      await here.sees('#ring', (svg) => (svg.querySelector('.key') ? undefined : 'the place is not marked'));
      const owner = await here.page.$eval('#lookup-result dd:nth-of-type(2) code', (code) => code.innerText);
      const ring = [here.id, there.id, ...native.map(({ id }) => id)].sort();
      assert.equal(owner, ring.find((id) => id >= 'd3486ae9136e') ?? ring[0]);
      const path = (await here.page.$eval('#ring', (svg) => svg.dataset.path)).split(' ');
      assert.equal(path[0], here.id);
      assert.equal(path.at(-1), owner);
      assert.equal(await here.page.$$eval('.hop', (hops) => hops.length), path.length - 1);
    });

    test('what goes wrong is said in a sentence', async () => {
      await here.click('#tab-chat');
      await here.fill('#peer', '00f3a1b2c4d5');
      await here.fill('#chat-text', 'nobody is there');
      await here.shows('#chat-problem', 'No node');
      await here.fill('#peer', '');
      await here.fill('#chat-text', 'nobody is there');
      await here.shows('#chat-problem', 'Choose a node');
    });

    test('keys lead around the ring and through the tabs', async () => {
      const { page } = here;
      await page.$eval('.dot[tabindex="0"]', (dot) => dot.focus());
      const first = await page.evaluate(() => document.activeElement.dataset.id);
      await page.keyboard.press('ArrowRight');
      const second = await page.evaluate(() => document.activeElement.dataset.id);
      assert.notEqual(first, second);
      await page.keyboard.press('Enter');
      assert.equal(await page.$eval('#peer', (input) => input.value), second);
      await page.focus('#tab-chat');
      await page.keyboard.press('Home');
      assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-ring');
      assert.equal(await page.$eval('#panel-ring', (panel) => panel.hidden), false);
      await here.shows('#chosen-id', second);
    });

    test('screen readers find their way, and colours have contrast', async () => {
      for (const tab of ['ring', 'chat', 'objects', 'channel', 'lookup']) {
        await here.click(`#tab-${tab}`);
        await here.page.evaluate(AXE);
        const wrong = await here.page.evaluate(async () => {
          const { violations } = await axe.run();
          return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(' | ')}`);
        });
        assert.deepEqual(wrong, [], tab);
      }
    });

    if (kind === 'chrome') test('it looks well', () => pictures(browser));

    test('a tab that is closed is gone from the picture', async () => {
      const begun = performance.now();
      await there.page.close();
      await here.seesRing([here.id, ...native.map(({ id }) => id)]);
      await here.shows('#news', `${there.id} has left.`);
      assert(performance.now() - begun < SOON);
    });

    test('the same node comes back after a reload', async () => {
      await here.page.reload();
      await here.sees('body', (body) => (body.dataset.phase === 'member' ? undefined : body.dataset.phase));
      assert.equal(await here.text('#own-id'), here.id);
    });

    test('nothing went wrong that nobody asked for', () => {
      assert.deepEqual([...here.said, ...there.said], []);
    });
  });
}

/** Pictures of the page to look at: wide and narrow, light and dark, with a path drawn. The nodes have few links, so that it has hops. */
async function pictures(browser) {
  const server = await Process.start('server', '0', PAGE);
  const nodes = await Promise.all(Array.from({ length: 15 }, () => Process.start('node', server.url, '6', '1')));
  for (const [name, viewport] of Object.entries({ wide: WIDE, phone: PHONE })) {
    const visitor = await Visitor.come(browser, server.url.replace('ws:', 'http:'), { viewport });
    const { page } = visitor;
    await visitor.seesRing([visitor.id, ...nodes.map(({ id }) => id)]);
    const shoot = async (what) => {
      for (const scheme of ['light', 'dark']) {
        await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
        await page.screenshot({ path: `${PICTURES}page-${name}-${what}-${scheme}.png`, fullPage: name === 'phone' });
      }
    };
    await visitor.choose(nodes[0].id);
    await shoot('ring');
    await visitor.click('#tab-objects');
    await visitor.click('#objects-form button');
    await visitor.sees('#arguments-Echo-echo', () => undefined);
    await visitor.fill('#arguments-Echo-echo', '"Hello world!"');
    await visitor.shows('#services output:not(:empty)', 'Hello world!');
    await shoot('objects');
    await visitor.click('#tab-chat');
    await visitor.fill('#chat-text', 'Is anybody there?');
    await visitor.sees('#chat-lines', (lines) => (lines.querySelector('.theirs') ? undefined : lines.innerText));
    await shoot('chat');
    await visitor.click('#tab-lookup');
    await visitor.fill('#lookup-text', await farKey(visitor));
    await visitor.sees('#ring', (svg) => (svg.dataset.path ? undefined : 'no path'));
    const isDrawn = (svg) => (svg.getAnimations({ subtree: true }).some(({ animationName }) => ['drawn', 'shown'].includes(animationName)) ? 'it is being drawn' : undefined);
    await visitor.sees('#ring', isDrawn);
    await shoot('lookup');
    await visitor.click('#tab-channel');
    await visitor.click('#channel-join');
    await visitor.sees('#channel-room', (room) => (room.hidden ? 'not joined' : undefined));
    await visitor.fill('#channel-text', 'Good morning, everybody!');
    await visitor.shows('#channel-lines', 'Good morning');
    await shoot('channel');
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(overflow, 0, 'nothing is cut off at the side');
    await page.close();
  }
}

/** A text whose owner is as many hops away as any. */
async function farKey({ page, id }) {
  const members = (await page.$eval('#ring', (svg) => svg.dataset.members)).split(' ');
  const linked = await page.$$eval('.dot.linked', (dots) => dots.map((dot) => dot.dataset.id));
  const isFar = (text) => {
    const point = createHash('sha1').update(text).digest('hex').slice(0, 12);
    const owner = members.find((member) => member >= point) ?? members[0];
    return owner !== id && !linked.includes(owner);
  };
  const texts = ['Hello world!', 'coral', 'lagoon', 'reef', 'palm tree', 'sea star', 'tide', 'shell', 'sand'];
  return texts.find(isFar) ?? texts[0];
}
