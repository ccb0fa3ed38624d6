/**
 * Results one by one. Nothing is asked for before the first is taken; left early, or aborted, the other node stops.
 */
export async function* results(begin, signal) {
  const source = await begin();
  try {
    for (;;) {
      const next = await source.next(signal);
      if (next === undefined) return;
      yield next[0];
    }
  } finally {
    source.end();
    source.free();
  }
}
