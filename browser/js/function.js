// Functions of other nodes, as functions.

import { results } from './results.js';

/** How long a call may take. */
export const TIMEOUT = 10_000;

/** The numbers of the functions that are held, by the functions themselves. */
const numbers = new WeakMap();

/** Functions that nobody in this page holds any more are released. */
const dropped = new FinalizationRegistry(({ wasm, number }) => wasm.releaseFunction(number));

/** A function that calls the function of another node that has this number in the node here. */
export function hold(wasm, number) {
  const called = (...args) => wasm.callFunction(number, args, TIMEOUT, undefined);
  called.stream = (...args) => results(() => wasm.streamFunction(number, args, undefined));
  called.release = () => {
    dropped.unregister(called);
    wasm.releaseFunction(number);
  };
  numbers.set(called, number);
  dropped.register(called, { wasm, number }, called);
  return called;
}

/** The number of such a function; `undefined` for any other. */
export function held(called) {
  return numbers.get(called);
}
