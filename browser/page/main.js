// The page that a signalling server shows: this tab joins the ring as a node, draws it, and lets one use it.

import { Atoll } from './js/index.js';
import { channelPanel } from './channel.js';
import { chatPanel } from './chat.js';
import { share as part } from './circle.js';
import { addLine, byId, copy, make, onSubmit, sentence, time, toast } from './dom.js';
import { lookupPanel } from './lookup.js';
import { objectsPanel } from './objects.js';
import { Ring } from './ring.js';
import { enableTabs, showTab, tabs } from './tabs.js';
import { RingView } from './view.js';

/** Lines of news that are kept. */
const NEWS = 100;

/** How long the way to a node may be sought, in milliseconds. */
const TRACED = 5000;

/** What the address says behind its `#`: the `network`, and a peer to `dial` at once. */
const asked = new URLSearchParams(location.hash.slice(1));
const network = asked.get('network') || undefined;

/** Where the page keeps the secret of the network: until this tab is closed. */
const SECRET = 'atoll secret';

tabs();
settings();
try {
  run(await join());
} catch (error) {
  state('failed', 'Not on the ring.');
  byId('ring-problem').textContent = sentence(error);
  byId('settings').open = true;
  byId('welcome').hidden = true;
}

async function join() {
  if (!('RTCPeerConnection' in globalThis)) throw new Error('this browser has no WebRTC, or it is switched off');
  state('joining', 'Joining the ring…');
  const signalling = new URL('ws', location.href);
  signalling.protocol = signalling.protocol.replace('http', 'ws');
  signalling.hash = '';
  const secret = sessionStorage.getItem(SECRET) ?? undefined;
  return Atoll.join({ signalling: signalling.href, key: 'page', network, secret });
}

function run(node) {
  const ring = new Ring(node);
  const view = new RingView(byId('ring'), ring);
  const page = { node, ring, view, peer, choose, showWay };
  byId('own-id').textContent = node.id;
  for (const id of ['me', 'figures', 'peer-row']) byId(id).hidden = false;
  enableTabs();
  byId('copy-id').onclick = () => copy(node.id, 'Your id');
  byId('share').onclick = () => invite(node.id);
  byId('second').href = location.href.split('#')[0] + (network ? `#${new URLSearchParams({ network })}` : '');
  commands(node.id);

  const isMember = () => state('member', ring.members.size === 1 ? 'Alone on the ring, so far.' : 'A member of the ring.');
  ring.addEventListener('change', () => {
    figures(ring);
    if (ring.status?.phase === 'member') isMember();
  });
  ring.addEventListener('happened', (event) => news(event.detail));
  isMember();
  node.addEventListener('isolated', () => state('joining', 'All links are gone. Joining anew…'));
  view.addEventListener('choose', (event) => choose(event.detail));
  // Kept for the back button, the page has left the ring.
  addEventListener('pageshow', (event) => event.persisted && location.reload());

  const chat = chatPanel(page);
  objectsPanel(page);
  channelPanel(page);
  lookupPanel(page);
  chosenNode(page);
  byId('peer').addEventListener('input', () => choose(byId('peer').value.trim()));
  const dial = asked.get('dial');
  if (dial) {
    choose(dial);
    showTab('chat');
    chat.open();
  }

  /** The peer that was chosen or typed. */
  function peer() {
    const who = byId('peer').value.trim();
    if (who === '') throw new Error('choose a node on the ring first, or type its id or @name');
    return who;
  }

  function choose(id) {
    if (byId('peer').value.trim() !== id) byId('peer').value = id;
    view.chosen = id;
    document.dispatchEvent(new CustomEvent('peer', { detail: id }));
  }

  /** Draws the way to a node; gives the hops with their times. */
  async function showWay(id, key) {
    const hops = id === node.id ? [] : await node.trace(id, { signal: AbortSignal.timeout(TRACED) });
    const path = [node.id, ...hops.map((hop) => hop.id)];
    ring.travelled(path);
    view.path(path, hops.map(({ time }, at) => (time === undefined ? `${at + 1}` : `${at + 1} · ${time.toFixed(1)} ms`)), key);
    return hops;
  }
}

function state(phase, text) {
  document.body.dataset.phase = phase;
  // Said once: screen readers hear each change.
  if (byId('state').textContent !== text) byId('state').textContent = text;
}

function figures(ring) {
  const { status } = ring;
  byId('figure-nodes').textContent = `${ring.isLarge ? '≈ ' : ''}${ring.size}`;
  if (!status) return;
  byId('figure-links').textContent = `${status.links.length} of ${status.maxLinks}`;
  const owned = ring.members.size === 1 ? 1 : ring.predecessor ? part(ring.predecessor, ring.node.id) : 0;
  byId('figure-share').textContent = `${(100 * owned).toFixed(owned === 1 ? 0 : 1)} %`;
  byId('figure-forwarded').textContent = status.counters.frames_forwarded.toLocaleString();
  const known = byId('known');
  const others = ring.inOrder.slice(1);
  if (known.dataset.ids === `${others}`) return;
  known.dataset.ids = others;
  known.replaceChildren(...others.map((id) => make('option', { value: id })));
}

function news(text) {
  addLine(byId('news'), make('p', {}, make('time', {}, time()), text), NEWS);
}

/** What the Ring tab says of the chosen node. */
function chosenNode({ node, ring, peer, showWay }) {
  let chosen = '';
  const show = () => {
    const isMember = ring.members.has(chosen);
    const relation = isMember ? ring.relation(chosen) : '';
    byId('peer-relation').textContent = relation;
    byId('chosen').hidden = !isMember;
    byId('welcome').hidden = isMember;
    byId('chosen-id').textContent = chosen;
    byId('chosen-relation').textContent = relation;
    for (const id of ['chosen-chat', 'chosen-path']) byId(id).hidden = chosen === node.id;
  };
  document.addEventListener('peer', (event) => {
    chosen = event.detail;
    show();
  });
  ring.addEventListener('change', show);
  byId('chosen-chat').onclick = () => showTab('chat');
  byId('chosen-objects').onclick = () => showTab('objects');
  byId('chosen-copy').onclick = () => copy(chosen, 'The id');
  byId('chosen-path').onclick = async () => {
    byId('ring-problem').textContent = '';
    try {
      const hops = await showWay(peer());
      news(`The way to ${hops.at(-1).id} takes ${hops.length === 1 ? 'one hop' : `${hops.length} hops`}.`);
    } catch (error) {
      byId('ring-problem').textContent = sentence(error);
    }
  };
}

/** Hands out a link that opens this page and dials this tab. */
async function invite(id) {
  const link = new URL(location.href);
  link.hash = new URLSearchParams({ dial: id, ...(network && { network }) });
  const isPhone = matchMedia('(pointer: coarse)').matches;
  if (isPhone && navigator.share) await navigator.share({ title: 'Atoll', url: link.href }).catch(() => {});
  else await copy(link.href, 'A link that dials you');
}

function commands(id) {
  const words = ` --signalling ${location.protocol.replace('http', 'ws')}//${location.host}${network ? ` --network ${network}` : ''}`;
  byId('command-dial').textContent = `node-cli dial ${id}${words}`;
  byId('command-call').textContent = `node-cli call ${id} Page.wave '"a terminal"'${words}`;
}

/** Another network: the page is loaded anew with it. */
function settings() {
  byId('network').value = network ?? '';
  byId('secret').value = sessionStorage.getItem(SECRET) ?? '';
  onSubmit(byId('settings-form'), byId('ring-problem'), async (form) => {
    if (form.get('secret')) sessionStorage.setItem(SECRET, form.get('secret'));
    else sessionStorage.removeItem(SECRET);
    const name = form.get('network').trim();
    location.hash = name ? new URLSearchParams({ network: name }) : '';
    toast('Joining…');
    location.reload();
  });
}
