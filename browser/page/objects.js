// The Objects tab: the services of another node, with their values and functions; and `Page`, which this tab provides.

import { byId, make, onSubmit, sentence, toast } from './dom.js';

/** Results of a stream that are shown. */
const RESULTS = 20;

/** A wave is shown at most so often, in milliseconds: whoever waves more is not seen. */
const WAVE_EVERY = 1000;

/** How long a painted lagoon keeps its colour, in milliseconds. */
const PAINTED = 10_000;

export function objectsPanel({ node, peer }) {
  provide(node).catch((error) => toast(sentence(error)));
  const list = byId('services');
  document.addEventListener('peer', () => list.replaceChildren());
  onSubmit(byId('objects-form'), byId('objects-problem'), async () => {
    const there = node.peer(peer());
    list.replaceChildren();
    const names = await there.services();
    if (names.length === 0) list.append(make('p', {}, 'It provides nothing.'));
    for (const name of names) list.append(await service(there, name));
  });
}

/** What other nodes find here. */
async function provide(node) {
  let waved = 0;
  let fading;
  const page = await node.provide('Page', {
    greeting: 'Hello from a browser tab!',
    usage: 'wave("Ann")  paint("tomato")  add(1, 2)  count(3)',
    lagoon: '',
    /** Says in this tab that somebody waves. */
    wave(from) {
      if (performance.now() - waved > WAVE_EVERY) toast(`${String(from ?? this.caller).slice(0, 60)} waves at you.`);
      waved = performance.now();
      return 'waved back';
    },
    /** Gives the lagoon of this tab a colour, for a while. */
    paint(colour) {
      const isColour = typeof colour === 'string' && colour.length < 64 && CSS.supports('color', colour);
      if (!isColour) throw new Error('that is no colour; try "tomato"');
      dye(colour);
      clearTimeout(fading);
      fading = setTimeout(() => dye(''), PAINTED);
      return `the lagoon is ${colour} now`;
    },
    /** Adds numbers. */
    add: (...numbers) => numbers.reduce((sum, number) => sum + Number(number), 0),
    /** Counts, one number each half second. */
    async *count(to = 5) {
      for (let at = 1; at <= Math.min(to, 1000); at += 1) {
        yield at;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    },
  });
  const dye = (colour) => {
    document.querySelector('.lagoon').style.fill = colour;
    page.set('lagoon', colour);
  };
}

/** A service, described by the peer itself. */
async function service(there, name) {
  const [shape, values] = await Promise.all([there.describe(name), there.get(name)]);
  const card = make('section', { class: 'service', 'aria-label': `Service ${name}` }, make('h3', {}, name));
  if (shape.doc) card.append(make('p', { class: 'hint' }, shape.doc));
  card.append(...members({ there, name }, shape, values, ''));
  return card;
}

function members(at, shape, values, prefix) {
  return Object.entries(shape.members ?? {}).flatMap(([name, told]) => {
    const path = prefix + name;
    const value = values?.[name];
    if (told.object) return members(at, told.object, value, `${path}.`);
    return told.function ? [functionRow(at, path, told.function)] : [valueRow(path, told.value ?? {}, value)];
  });
}

function valueRow(path, { doc }, value) {
  const row = make('div', { class: 'member' }, make('code', {}, make('span', { class: 'name' }, path), ` = ${shown(value)}`));
  if (doc) row.append(make('p', { class: 'hint' }, doc));
  return row;
}

function functionRow({ there, name }, path, { doc, parameters, gives }) {
  const output = make('output', { 'aria-live': 'polite' });
  const id = `arguments-${name}-${path}`;
  const input = make('input', { id, name: 'args', placeholder: parameters?.join(', ') || 'arguments as JSON: "text", 1', autocomplete: 'off', spellcheck: 'false' });
  const form = make('form', { class: 'say' }, make('label', { for: id, class: 'unseen' }, `Arguments of ${path}, as JSON`), input, make('button', { class: 'strong' }, 'Call'));
  onSubmit(form, output, async (data) => {
    output.className = '';
    try {
      const args = parsed(data.get('args'));
      if (gives === 'stream' || gives === 'bytes') await showStream(there.stream(name, path, args, { timeout: 60_000 }), output);
      else output.textContent = shown(await there.call(name, path, args));
    } catch (error) {
      output.className = 'problem';
      throw error;
    }
  });
  const signature = `(${parameters ? parameters.join(', ') : '…'})${{ stream: ' → many', bytes: ' → bytes' }[gives] ?? ''}`;
  const row = make('div', { class: 'member' }, make('code', {}, make('span', { class: 'name' }, path), signature));
  if (doc) row.append(make('p', { class: 'hint' }, doc));
  row.append(form, output);
  return row;
}

async function showStream(results, output) {
  let count = 0;
  for await (const result of results) {
    output.append(`${shown(result)}\n`);
    count += 1;
    if (count === RESULTS) {
      output.append('… and so on');
      break;
    }
  }
}

/** Arguments as they would stand between the parentheses of a call, each as JSON. */
function parsed(text) {
  try {
    return JSON.parse(`[${text}]`);
  } catch {
    throw new Error('arguments are JSON with commas in between: "a text", 7, [1, 2]');
  }
}

/** A value in the way of JSON, for people. */
function shown(value) {
  if (value === undefined) return 'nothing';
  if (value instanceof Uint8Array) return `${value.length} bytes: ${[...value.subarray(0, 32)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`;
  if (typeof value === 'function') return 'a function';
  const plain = (_, one) => {
    if (typeof one === 'bigint') return `${one}`;
    if (typeof one === 'function') return 'a function';
    return one instanceof Uint8Array ? [...one] : one;
  };
  return JSON.stringify(value, plain, typeof value === 'object' ? 1 : 0);
}
