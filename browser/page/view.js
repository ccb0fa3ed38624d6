// The ring as a picture: members where their ids lie, links as bent lines across, a path hop by hop.

import { RADIUS, angle, apart, arc, at, chord, middle } from './circle.js';
import { draw } from './dom.js';

/** Members up to which each has a label. With more, only those that matter. */
const LABELLED = 32;

/** Least angle between two labels, in radians: room for four digits, beside each other at the top and at the bottom. */
const APART = 0.18;

/** Where labels and visitors stand, in the picture's own units. */
const [LABELS, VISITORS] = [RADIUS + 30, RADIUS + 14];

/** How far the label of a hop stands off its line. */
const BADGE_OFF = 10;

/** How long a hop of a path takes to be drawn, and how long a path stays, in milliseconds. */
const [HOP, STAYS] = [420, 15_000];

/** Draws a ring into an `svg` element, and says with `choose` which member was chosen in it. */
export class RingView extends EventTarget {
  #ring;
  #layers;
  #dots = new Map();
  #chosen;
  #focused;
  #pathEnds;

  constructor(svg, ring) {
    super();
    this.#ring = ring;
    this.svg = svg;
    this.#layers = Object.fromEntries(
      ['owned', 'others', 'links', 'visitors', 'path', 'leaders', 'dots', 'marks'].map((name) => [name, draw('g', { class: name })]),
    );
    svg.append(...Object.values(this.#layers));
    for (const name of ['owned', 'others', 'links', 'visitors', 'path', 'leaders', 'marks']) this.#layers[name].ariaHidden = 'true';
    ring.addEventListener('change', () => this.#update());
    svg.onkeydown = (event) => this.#key(event);
    this.#update();
  }

  /** Marks a member as the chosen one. */
  set chosen(id) {
    this.#chosen = id;
    this.#update();
  }

  /**
   * Draws the way of a frame, hop by hop: the ids of the nodes on it, the own one first. `labels` stand at the hops; `key` is the point
   * that was looked up, if one was. The path before it is gone then.
   */
  path(hops, labels = [], key) {
    clearTimeout(this.#pathEnds);
    const { path, marks } = this.#layers;
    path.replaceChildren();
    marks.replaceChildren();
    const after = (at) => `--delay: ${at * HOP}ms`;
    hops.slice(1).forEach((to, hop) => {
      const from = hops[hop];
      const line = draw('path', { class: 'hop', d: chord(from, to), pathLength: 1 });
      const { x, y } = badgePlace(from, to);
      const badge = draw('g', { class: 'badge', transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` });
      const plate = draw('g');
      const text = labels[hop] ?? `${hop + 1}`;
      const width = 12 + 6.4 * text.length;
      plate.append(draw('rect', { x: -width / 2, y: -10, width, height: 20, rx: 10 }), draw('text', { dy: '0.35em' }, text));
      badge.append(plate);
      const end = draw('circle', { class: 'reached', r: 13, cx: at(angle(to)).x, cy: at(angle(to)).y });
      // Set by the script, for the page's policy takes no style attributes.
      for (const part of [line, badge, end]) part.style.cssText = after(part === line ? hop : hop + 0.8);
      path.append(line, end);
      marks.append(badge);
    });
    if (key) {
      const owner = hops.at(-1);
      const begin = at(angle(key));
      const gap = draw('path', { class: 'gap', d: arc(key, owner), pathLength: 1 });
      gap.style.cssText = after(hops.length - 1);
      path.prepend(gap);
      const turn = ((angle(key) * 180) / Math.PI).toFixed(2);
      const pin = draw('g', { class: 'key', transform: `translate(${begin.x.toFixed(1)} ${begin.y.toFixed(1)}) rotate(${turn})` });
      pin.append(draw('path', { d: 'M0 0L-6 -13A8 8 0 1 1 6 -13Z' }), draw('circle', { r: 3, cy: -17 }));
      marks.append(pin);
    }
    this.svg.dataset.path = hops.join(' ');
    this.#pathEnds = setTimeout(() => this.clearPath(), STAYS + hops.length * HOP);
  }

  clearPath() {
    this.#layers.path.replaceChildren();
    this.#layers.marks.replaceChildren();
    delete this.svg.dataset.path;
  }

  #update() {
    const ring = this.#ring;
    const members = [...ring.members.keys()].sort();
    const linked = new Set(ring.linked);
    this.#layers.owned.replaceChildren(...this.#ownedArc());
    lines(this.#layers.links, ring.linked.filter((id) => ring.members.has(id)).map((id) => [ring.node.id, id]));
    lines(this.#layers.others, ring.otherLinks);
    this.#visitors();
    for (const [id, dot] of this.#dots) if (!ring.members.has(id)) this.#remove(id, dot);
    for (const id of members) this.#dot(id, linked);
    this.#labels(members, linked);
    const known = ring.isLarge ? `about ${ring.size} nodes, of which ${members.length} are shown` : `${members.length} nodes`;
    this.svg.setAttribute('aria-label', `The ring: ${known}`);
    this.svg.dataset.members = members.join(' ');
    this.svg.classList.toggle('crowded', members.length > LABELLED);
  }

  #ownedArc() {
    const { node, predecessor, members } = this.#ring;
    if (members.size === 1) return [draw('path', { d: arc(node.id, node.id) })];
    return predecessor ? [draw('path', { d: arc(predecessor, node.id) })] : [];
  }

  #visitors() {
    const dots = this.#ring.visitors.map((id) => {
      const { x, y } = at(angle(id), VISITORS);
      return draw('circle', { r: 4.5, cx: x.toFixed(1), cy: y.toFixed(1) }, draw('title', {}, `${id}, a visitor`));
    });
    this.#layers.visitors.replaceChildren(...dots);
  }

  /** Draws a member, or what has changed about it. */
  #dot(id, linked) {
    const isOwn = id === this.#ring.node.id;
    let dot = this.#dots.get(id);
    if (!dot) {
      const { x, y } = at(angle(id));
      dot = draw('g', { class: 'dot', role: 'button', transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, 'data-id': id });
      dot.append(
        draw('circle', { class: 'touch', r: 18 }),
        draw('circle', { class: 'wave', r: 9 }),
        draw('circle', { class: 'core', r: isOwn ? 10 : 7.5 }),
        draw('title', {}, id),
      );
      dot.addEventListener('click', () => this.#choose(id));
      dot.addEventListener('focus', () => (this.#focused = id));
      this.#dots.set(id, dot);
      // The own one stays on top.
      this.#layers.dots.insertBefore(dot, this.#dots.get(this.#ring.node.id) === dot ? null : this.#layers.dots.querySelector('.own'));
    }
    dot.classList.toggle('own', isOwn);
    dot.classList.toggle('linked', linked.has(id));
    dot.classList.toggle('chosen', id === this.#chosen);
    dot.setAttribute('aria-pressed', id === this.#chosen);
    dot.setAttribute('aria-label', `Node ${id}, ${this.#ring.relation(id)}`);
    dot.setAttribute('tabindex', id === (this.#ring.members.has(this.#focused) ? this.#focused : this.#ring.node.id) ? 0 : -1);
  }

  #remove(id, dot) {
    this.#dots.delete(id);
    dot.classList.add('gone');
    dot.removeAttribute('tabindex');
    const motion = matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 700;
    setTimeout(() => dot.remove(), motion);
  }

  #labels(members, linked) {
    const matters = (id) => id === this.#ring.node.id || id === this.#chosen || linked.has(id);
    const shown = members.length <= LABELLED ? members : members.filter(matters);
    const angles = shown.map(angle);
    const moved = apart(angles, APART);
    const labels = shown.flatMap((id, index) => {
      const [begin, end] = [at(angles[index], RADIUS + 13), at(moved[index], LABELS - 7)];
      const { x, y } = at(moved[index], LABELS);
      const side = Math.sin(moved[index]);
      const anchor = Math.abs(side) < 0.25 ? 'middle' : side > 0 ? 'start' : 'end';
      const isOwn = id === this.#ring.node.id;
      const text = draw('text', { x: x.toFixed(1), y: y.toFixed(1), dy: '0.35em', 'text-anchor': anchor }, isOwn ? 'you' : id.slice(0, 4));
      text.classList.toggle('own', isOwn);
      text.classList.toggle('chosen', id === this.#chosen);
      return [draw('line', { x1: begin.x, y1: begin.y, x2: end.x, y2: end.y }), text];
    });
    this.#layers.leaders.replaceChildren(...labels);
  }

  #choose(id) {
    this.dispatchEvent(new CustomEvent('choose', { detail: id }));
  }

  /** Arrows go around the ring, Enter chooses. */
  #key(event) {
    const id = event.target.closest?.('.dot')?.dataset.id;
    if (!id) return;
    const order = this.#ring.inOrder;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      this.#focused = order[(order.indexOf(id) + step + order.length) % order.length];
      this.#update();
      this.#dots.get(this.#focused).focus();
    } else if (event.key === 'Enter' || event.key === ' ') {
      this.#choose(id);
    } else {
      return;
    }
    event.preventDefault();
  }
}

/** Where the label of a hop stands: at the middle of its line, towards the centre, and farther where the line is short. */
function badgePlace(from, to) {
  const { x, y } = middle(from, to);
  const [begin, end] = [at(angle(from)), at(angle(to))];
  const short = Math.max(0, 1 - Math.hypot(end.x - begin.x, end.y - begin.y) / 80);
  const left = Math.max(0, 1 - (BADGE_OFF * (1 + 3 * short)) / (Math.hypot(x, y) || 1));
  return { x: x * left, y: y * left };
}

/** Draws lines between pairs of ids, and leaves alone those that are there: only what is new is seen to come. */
function lines(layer, pairs) {
  const wanted = new Map(pairs.map(([from, to]) => [`${from} ${to}`, [from, to]]));
  for (const line of [...layer.children]) if (!wanted.delete(line.dataset.pair)) line.remove();
  for (const [pair, [from, to]] of wanted) layer.append(draw('path', { d: chord(from, to), 'data-pair': pair, pathLength: 1 }));
}
