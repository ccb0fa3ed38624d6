// What a programmer of TypeScript writes, and what the compiler must refuse.

import { Atoll, AtollError, forget, type Remote } from '../../browser/js/index.js';

interface Echo {
  a: number;
  echo(message: string): string;
  count(to: number): AsyncGenerator<number>;
  deep: { x: { f(n: number): Promise<number> } };
}

export async function use(): Promise<void> {
  const node = await Atoll.join({ signalling: 'wss://signal.example.org', key: 'me', links: 8, signal: AbortSignal.timeout(5000) });
  const id: string = node.id;
  await node.provide('Echo', { a: 1, echo: (message: string) => message });
  const echo: Remote<Echo> = await node.peer('@alice').service<Echo>('Echo');
  const said: string = await echo.echo('hi');
  const a: number = echo.a;
  const doubled: number = await echo.deep.x.f(21);
  for await (const at of echo.count(3)) console.log(at + 1);
  for await (const socket of node.listen()) await socket.readable.pipeTo(socket.writable);
  const key: string = await node.put(new Uint8Array(1), { ttl: 1000 });
  const bytes: Uint8Array | undefined = await node.get(key);
  node.addEventListener('connect', ({ detail }) => console.log(detail.peer.length));
  node.addEventListener('signallinglost', ({ detail }) => console.log(detail.retryIn + 1));
  await node.close();
  await forget('me');
  console.log(id, said, a, doubled, bytes, new AtollError('failed', 'no').code);
}

export async function misuse(node: Atoll, echo: Remote<Echo>): Promise<void> {
  // @ts-expect-error: a server is needed
  await Atoll.join({});
  // @ts-expect-error: there is no such option
  await Atoll.join({ signalling: 'wss://signal.example.org', colour: 'red' });
  // @ts-expect-error: a node is joined, not made
  new Atoll();
  // @ts-expect-error: it gives a promise
  const said: string = echo.echo('hi');
  // @ts-expect-error: a text is wanted
  await echo.echo(7);
  console.log(said);
}
