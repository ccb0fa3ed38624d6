// The circle of ids as the page computes it.

import assert from 'node:assert';
import { test } from 'node:test';
import { apart, arc, at, chord, distance, evenly, isBetween, next, share } from '../../browser/page/circle.js';

const [FIRST, QUARTER, HALF, LAST] = ['000000000000', '400000000000', '800000000000', 'ffffffffffff'];

test('distances go clockwise, over the end of the ids as well', () => {
  assert.equal(distance(FIRST, QUARTER), 2 ** 46);
  assert.equal(distance(QUARTER, FIRST), 3 * 2 ** 46);
  assert.equal(distance(LAST, FIRST), 1);
  assert.equal(next(LAST), FIRST);
  assert.equal(next('00000000000f'), '000000000010');
  assert.equal(share(LAST, QUARTER), (2 ** 46 + 1) / 2 ** 48);
  assert.equal(share(HALF, HALF), 1);
});

test('an id lies between two others, or between one and itself', () => {
  assert(isBetween(FIRST, QUARTER, HALF) && isBetween(HALF, LAST, QUARTER) && isBetween(HALF, FIRST, QUARTER));
  assert(!isBetween(FIRST, HALF, QUARTER) && !isBetween(FIRST, FIRST, HALF) && !isBetween(FIRST, HALF, HALF));
  assert(isBetween(HALF, QUARTER, HALF) && !isBetween(HALF, HALF, HALF));
});

test('points divide the ring evenly', () => {
  assert.deepEqual(evenly(HALF, 4), [HALF, 'c00000000000', FIRST, QUARTER]);
  assert.equal(new Set(evenly('123456789abc', 64)).size, 64);
});

test('the first id is at the top, and a quarter of the ids to the right', () => {
  const near = ({ x, y }, [wantedX, wantedY]) => Math.hypot(x - wantedX, y - wantedY) < 1e-6;
  assert(near(at(0, 100), [0, -100]) && near(at(Math.PI / 2, 100), [100, 0]));
  assert.equal(arc(FIRST, QUARTER, 100), 'M0 -100A100 100 0 0 1 100 0');
  assert.match(arc(QUARTER, FIRST, 100), / 0 1 1 0 -100$/);
  assert.equal(arc(FIRST, FIRST, 100).match(/A/g).length, 2);
  assert.match(chord(FIRST, HALF), /^M0 -180Q/);
});

test('labels are moved apart, in their order and no further than needed', () => {
  for (const angles of [[0, 1, 2], [0.5, 3, 6]]) apart(angles, 0.1).forEach((angle, at) => assert(Math.abs(angle - angles[at]) < 1e-9));
  assert.deepEqual(apart([1, 1.02], 0.1).map((angle) => angle.toFixed(2)), ['0.96', '1.06']);
  assert.deepEqual(apart([], 0.1), []);
  assert.deepEqual(apart([3], 0.1), [3]);
  for (const angles of [[1, 1, 1], [0, 0.01, 6.28], Array.from({ length: 40 }, (_, at) => at / 1000)]) {
    const moved = apart(angles, 0.1);
    const gaps = moved.map((angle, at) => (at + 1 < moved.length ? moved[at + 1] : moved[0] + 2 * Math.PI) - angle);
    assert(Math.min(...gaps) > 0.09, `${angles} became ${moved}`);
  }
});
