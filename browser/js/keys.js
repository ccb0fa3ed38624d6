// Keys of nodes that are the same after a reload, in the page's IndexedDB.

import { AtollError } from './error.js';

const DATABASE = 'atoll';
const STORE = 'keys';

/**
 * The key under a name, made if there is none yet, and what gives it back. Of two tabs of one page the second gets another one, the same
 * each time it is the second: one key in two places would be one node in two places.
 */
export async function borrow(name, make) {
  for (let place = 1; ; place += 1) {
    const slot = place === 1 ? name : `${name} ${place}`;
    const giveBack = await lock(`atoll key ${slot}`);
    if (!giveBack) continue;
    try {
      return { key: await read(slot, make), giveBack };
    } catch (error) {
      giveBack();
      throw new AtollError('failed', `the key cannot be kept in this browser: ${error.message}`);
    }
  }
}

/** Forgets a key that was kept, and those of further tabs. Nodes that use them go on. */
export async function forget(name) {
  await inStore('readwrite', (store) => store.delete(IDBKeyRange.bound(name, `${name} \uffff`)));
}

/** What gives the lock back; `undefined` while another tab has it. The browser gives it back when the tab goes. */
function lock(name) {
  // Without locks, as in pages that are not secure, every tab takes the first key.
  if (!navigator.locks) return Promise.resolve(() => {});
  return new Promise((resolve, reject) => {
    const hold = (lock) => {
      if (!lock) return resolve(undefined);
      return new Promise((giveBack) => resolve(giveBack));
    };
    navigator.locks.request(name, { ifAvailable: true }, hold).catch(reject);
  });
}

async function read(slot, make) {
  const kept = await inStore('readonly', (store) => store.get(slot));
  if (kept !== undefined) return kept;
  const key = make();
  await inStore('readwrite', (store) => store.put(key, slot));
  return key;
}

async function inStore(mode, act) {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await settled(opening);
  try {
    return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
