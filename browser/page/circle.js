// The circle on which ids lie: where they are, and what is drawn between them. Angles are in radians, clockwise from the top.

/** How many ids there are: 48 bits, which a number of JavaScript holds exactly. */
const IDS = 2 ** 48;

/** Radius of the ring in the picture's own units. */
export const RADIUS = 180;

const number = (id) => parseInt(id, 16);

/** The id behind this one. */
export const next = (id) => ((number(id) + 1) % IDS).toString(16).padStart(12, '0');

/** Ids from one to the other, clockwise. */
export const distance = (from, to) => (number(to) - number(from) + IDS) % IDS;

/** Whether an id lies behind `from` and before `to`, clockwise. */
export const isBetween = (from, id, to) => distance(from, id) > 0 && (from === to || distance(from, id) < distance(from, to));

/** So many ids that they divide the ring evenly, beginning at this one. */
export function evenly(id, count) {
  const step = Math.floor(IDS / count);
  return Array.from({ length: count }, (_, at) => ((number(id) + at * step) % IDS).toString(16).padStart(12, '0'));
}

/** The share of the ring from one id to another, 0 to 1: all of it where they are the same. */
export const share = (from, to) => (from === to ? 1 : distance(from, to) / IDS);

export const angle = (id) => (2 * Math.PI * number(id)) / IDS;

export const at = (angle, radius = RADIUS) => ({ x: radius * Math.sin(angle), y: -radius * Math.cos(angle) });

/** A piece of the ring, clockwise from one id to another: the `d` of a path. */
export function arc(from, to, radius = RADIUS) {
  const part = share(from, to);
  const begin = at(angle(from), radius);
  if (part === 1) {
    const half = at(angle(from) + Math.PI, radius);
    return `M${point(begin)}A${radius} ${radius} 0 0 1 ${point(half)}A${radius} ${radius} 0 0 1 ${point(begin)}`;
  }
  return `M${point(begin)}A${radius} ${radius} 0 ${part > 0.5 ? 1 : 0} 1 ${point(at(angle(to), radius))}`;
}

/** A link across the ring, bent towards its centre: the `d` of a path. */
export function chord(from, to) {
  const { begin, bend, end } = curve(from, to);
  return `M${point(begin)}Q${point(bend)} ${point(end)}`;
}

/** The point in the middle of that line. */
export function middle(from, to) {
  const { begin, bend, end } = curve(from, to);
  return { x: (begin.x + 2 * bend.x + end.x) / 4, y: (begin.y + 2 * bend.y + end.y) / 4 };
}

/** The farther two ids are from each other, the nearer to the centre their line passes. */
function curve(from, to) {
  const [begin, end] = [at(angle(from)), at(angle(to))];
  const near = Math.cos((angle(to) - angle(from)) / 2) ** 2;
  const pull = (0.25 + 0.5 * near) / 2;
  return { begin, end, bend: { x: (begin.x + end.x) * pull, y: (begin.y + end.y) * pull } };
}

/**
 * Moves angles apart, so that labels at them do not cover each other, and no further than needed. `angles` are in their order; so are those
 * that come out.
 */
export function apart(angles, least) {
  const count = angles.length;
  if (count < 2) return [...angles];
  const gap = Math.min(least, TURN / count);
  // The circle is cut open where it is emptiest.
  const gaps = angles.map((angle, at) => (at > 0 ? angle - angles[at - 1] : angle - angles[count - 1] + TURN));
  const cut = gaps.indexOf(Math.max(...gaps));
  const inLine = angles.map((_, at) => angles[(at + cut) % count] + (at + cut >= count ? TURN : 0));
  // Angles that are too close stand as a group around their mean; groups that meet become one (isotonic regression).
  const groups = [];
  inLine.forEach((angle, at) => {
    let group = { sum: angle - at * gap, size: 1 };
    while (groups.length > 0 && groups.at(-1).sum / groups.at(-1).size > group.sum / group.size) {
      const { sum, size } = groups.pop();
      group = { sum: sum + group.sum, size: size + group.size };
    }
    groups.push(group);
  });
  const moved = groups.flatMap(({ sum, size }) => Array(size).fill(sum / size)).map((angle, at) => angle + at * gap);
  return angles.map((_, at) => (at >= cut ? moved[at - cut] : moved[at - cut + count] - TURN));
}

const TURN = 2 * Math.PI;

const tenth = (value) => Math.round(10 * value) / 10 + 0;

const point = ({ x, y }) => `${tenth(x)} ${tenth(y)}`;
