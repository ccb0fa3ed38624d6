// Loads the node, once for all of the page.

import start, * as wasm from '../wasm/atoll_web.js';
import { AtollError } from './error.js';
import { held, hold } from './function.js';

let loading;
let done;

/** The functions of the node. A module elsewhere than beside this one is named by `url`. */
export function load(url) {
  loading ??= begin(url).catch((error) => {
    loading = undefined;
    const hint = import.meta.url.includes('/.vite/') ? "; with Vite's server set optimizeDeps: { exclude: ['atoll-web'] }" : '';
    throw new AtollError('failed', `the node cannot be loaded: ${error.message}${hint}`);
  });
  return loading;
}

async function begin(url) {
  await start(url === undefined ? undefined : { module_or_path: url });
  wasm.setHooks({
    error: (code, message, data) => new AtollError(code, message, data),
    hold: (number) => hold(wasm, number),
    held,
    turn: nextTurn(),
    panicked: (message) => console.error(`Atoll has failed, which is a bug: ${message}`),
  });
  done = wasm;
  return wasm;
}

/** What gives promises that are settled when the browser has had its turn: timers would take 4 ms. */
function nextTurn() {
  const { port1, port2 } = new MessageChannel();
  const waiting = [];
  port1.onmessage = () => waiting.shift()();
  return () =>
    new Promise((resolve) => {
      waiting.push(resolve);
      port2.postMessage(undefined);
    });
}

/** The same, once they are loaded. */
export function loaded() {
  return done;
}
