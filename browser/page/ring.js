// What this tab knows of the ring: its members, where they are, and which links there are between them.

import { distance, evenly, isBetween, next } from './circle.js';

/** Members that a walk around the ring visits at most. Of a larger ring, so many points are looked up. */
const WALK_MOST = 64;

/** Pauses, in milliseconds: between two lookups of the first round, and of later ones, and between two rounds. */
const [FIRST_STEP, STEP, ROUND] = [60, 250, 4000];

/** How often the own node is asked for what it knows. */
const LOOK_EVERY = 1000;

/** What is found in so many milliseconds after the start was there before. */
const SETTLED = 5000;

/** How long a member of a large ring that is heard of no more is shown, and how long a link of others that a path went over. */
const [REMEMBERED, LINK_REMEMBERED] = [60_000, 120_000];

/**
 * The ring as this tab knows it. Tells of each `change`, and what `happened` in words.
 *
 * The neighbours and links are the node's own; all others are found by lookups, one after the other around the circle: the owner of the
 * point behind a member is its successor.
 */
export class Ring extends EventTarget {
  /** What the node says of itself, once it has been asked. */
  status;
  /** Members by their ids, with the time at which they were heard of last. The own node is among them. */
  members = new Map();
  /** Links between other nodes that a path went over: the ids with a blank in between, and when. */
  #links = new Map();
  #end = new AbortController();
  #begun = performance.now();
  #rounds = 0;
  #timer;

  constructor(node) {
    super();
    this.node = node;
    this.members.set(node.id, performance.now());
    for (const type of ['join', 'isolated', 'peerconnect', 'peerdisconnect', 'ringchange', 'signallinglost']) {
      node.addEventListener(type, (event) => this.#hear(type, event.detail), { signal: this.#end.signal });
    }
    this.#look();
    this.#walk();
  }

  /** Looks no longer. */
  stop() {
    this.#end.abort();
    clearTimeout(this.#timer);
  }

  /** How many nodes the ring has: counted where all are known, estimated otherwise. */
  get size() {
    return this.isLarge ? Math.round(this.status.estimatedSize) : this.members.size;
  }

  get isLarge() {
    return (this.status?.estimatedSize ?? 1) > 1.5 * WALK_MOST && this.members.size > WALK_MOST / 2;
  }

  /** The members in the order of the ring, this node first. */
  get inOrder() {
    return [...this.members.keys()].sort((a, b) => distance(this.node.id, a) - distance(this.node.id, b));
  }

  get predecessor() {
    return this.status?.predecessors[0];
  }

  get successor() {
    return this.status?.successors[0];
  }

  /** The ids of members that this node is linked to. */
  get linked() {
    return (this.status?.links ?? []).filter((link) => link.member).map((link) => link.peer);
  }

  /** Nodes that hang on this one and own no part of the ring, such as a `node-cli dial`. */
  get visitors() {
    return (this.status?.links ?? []).filter((link) => link.role === 'leaf').map((link) => link.peer);
  }

  /** Links between other members that are known of, as pairs. */
  get otherLinks() {
    const pairs = [...this.#links.keys()].map((pair) => pair.split(' '));
    return pairs.filter((pair) => pair.every((id) => id !== this.node.id && this.members.has(id)));
  }

  /** What a member is to this node, in words. */
  relation(id) {
    if (id === this.node.id) return 'this tab';
    const words = [];
    if (id === this.successor) words.push('your successor');
    if (id === this.predecessor) words.push('your predecessor');
    if (this.visitors.includes(id)) words.push('a visitor, linked to you');
    else if (this.linked.includes(id)) words.push('linked to you');
    else words.push('some hops away');
    return words.join(', ');
  }

  /** A frame went this way, so these members and links are there. */
  travelled(hops) {
    const now = performance.now();
    hops.forEach((id, at) => {
      this.#saw(id);
      const before = hops[at - 1];
      if (before) this.#links.set([before, id].sort().join(' '), now);
    });
    this.#changed();
  }

  async #look() {
    const status = await this.node.status().catch(() => undefined);
    if (this.#end.signal.aborted || !status) return;
    this.status = status;
    for (const id of [...status.predecessors, ...status.successors, ...this.linked]) this.#saw(id);
    this.#forgetOld();
    this.#changed();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), LOOK_EVERY);
  }

  #hear(type, detail) {
    const said = {
      join: () => 'This tab has its place on the ring.',
      isolated: () => 'All links are gone. The node joins anew.',
      peerconnect: () => `A link to ${detail.peer} has opened.`,
      peerdisconnect: () => `The link to ${detail.peer} is gone.`,
      signallinglost: () => 'The signalling server is out of reach. The ring goes on without it.',
    }[type]?.();
    if (said) this.#happened(said);
    this.#look();
  }

  /** Around the ring again and again, as long as somebody looks. */
  async #walk() {
    for (let round = 0; !this.#end.signal.aborted; round += 1) {
      if (!document.hidden && this.status?.phase === 'member') {
        await this.#round(round === 0 ? FIRST_STEP : STEP).catch(() => {});
      }
      await pause(round === 0 ? LOOK_EVERY : ROUND);
    }
  }

  async #round(step) {
    const own = this.node.id;
    if (this.isLarge) {
      for (const point of evenly(own, WALK_MOST)) {
        this.#saw(await this.#ask(point, step));
        this.#changed();
      }
      return;
    }
    let at = own;
    // One each round, that its way is seen anew.
    const traced = this.inOrder[1 + (this.#rounds++ % Math.max(1, this.members.size - 1))];
    for (let count = 0; count < WALK_MOST; count += 1) {
      const found = await this.#ask(next(at), step);
      const isRound = found === own || distance(own, found) <= distance(own, at);
      this.#forgetBetween(at, isRound ? own : found);
      if (isRound) return this.#changed();
      if (!this.members.has(found) || found === traced) this.#trace(found);
      this.#saw(found);
      this.#changed();
      at = found;
    }
  }

  /** The way to a member shows links of others. */
  async #trace(id) {
    if (this.linked.includes(id)) return;
    const hops = await this.node.trace(id, { signal: this.#end.signal }).catch(() => []);
    this.travelled([this.node.id, ...hops.map((hop) => hop.id)]);
  }

  async #ask(point, step) {
    await pause(step);
    const { owner } = await this.node.lookup(point, { signal: this.#end.signal });
    return owner;
  }

  #saw(id) {
    const isNew = !this.members.has(id);
    this.members.set(id, performance.now());
    // What is there already when one comes is no news.
    if (isNew && this.#isSettled) this.#happened(`${id} is on the ring.`);
  }

  get #isSettled() {
    return performance.now() - this.#begun > SETTLED;
  }

  /** A lookup has shown that nobody is there, whatever was heard before. */
  #forgetBetween(from, to) {
    for (const id of this.members.keys()) {
      if (isBetween(from, id, to) && !this.#isNear(id)) this.#forget(id);
    }
  }

  #forgetOld() {
    const now = performance.now();
    for (const [pair, seen] of this.#links) if (now - seen > LINK_REMEMBERED) this.#links.delete(pair);
    for (const [id, seen] of this.members) if (now - seen > REMEMBERED && !this.#isNear(id)) this.#forget(id);
  }

  #forget(id) {
    this.members.delete(id);
    this.#happened(`${id} has left.`);
  }

  #isNear(id) {
    const { predecessors = [], successors = [] } = this.status ?? {};
    return id === this.node.id || predecessors.includes(id) || successors.includes(id) || this.linked.includes(id);
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  #happened(text) {
    this.dispatchEvent(new CustomEvent('happened', { detail: text }));
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
