// What a programmer of TypeScript writes, and what the compiler must refuse.

import { Atoll, AtollError, forget, Id, type Remote, type Shape } from '../../browser/js/index.js';

import { explorer } from '../../browser/js/explorer.js';
import sea, { HashAddress, type Connection } from '../../browser/js/sea.js';

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
  const shape: Shape = await node.peer('@alice').describe('Echo');
  const parameters: string[] | undefined = shape.members?.echo?.function?.parameters;
  const a: number = echo.a;
  const doubled: number = await echo.deep.x.f(21);
  for await (const at of echo.count(3)) console.log(at + 1);
  for await (const socket of node.listen()) await socket.readable.pipeTo(socket.writable);
  const key: string = await node.put(new Uint8Array(1), { ttl: 1000 });
  const bytes: Uint8Array | undefined = await node.get(key);
  node.addEventListener('peerconnect', ({ detail }) => console.log(detail.peer.length));
  node.addEventListener('signallinglost', ({ detail }) => console.log(detail.retryIn + 1));
  const entry: string = await node.putEntry('motd', 'hello');
  await node.delete('motd');
  const { owner, hops } = await node.lookup(await Id.hash('motd'));
  for (const { id, time } of await node.trace(owner)) console.log(id.length, time?.toFixed(1));
  const status = await node.status();
  const kinds: string[] = status?.links.map((link) => link.kind) ?? [];
  const news = await node.channel('news', { secret: 'sixteen or more bytes' });
  news.addEventListener('memberjoin', ({ detail }) => console.log(detail.id, detail.data));
  const sequence: number = await news.publish('sports', { home: 3 });
  for await (const { publisher, message, missed } of news.subscribe<{ home: number }>('sports')) {
    console.log(publisher.length, message.home + missed);
  }
  for await (const { scope } of news) console.log(scope);
  await news.leave();
  console.log(entry, hops, kinds, sequence);
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
  // @ts-expect-error: a secret is bytes
  await node.channel('news', { secret: 7 });
  // @ts-expect-error: it gives a promise
  const said: string = echo.echo('hi');
  // @ts-expect-error: a text is wanted
  await echo.echo(7);
  console.log(said);
}

export async function seeds(): Promise<void> {
  const listener = explorer({ signalling: 'wss://signal.example.org' }).createListener((socket) => socket.on('data', (bytes) => socket.write(bytes)));
  listener.listen((error) => console.log(error?.message));
  await sea.goOnline(['wss://signal.example.org']);
  sea.handle('add', (a: number, b: number) => a + b);
  const address: HashAddress = (await HashAddress.make('hello')).randomise(8);
  const nearest: HashAddress = await sea.call(address, 'sea:nearest', address);
  const sum: number = await sea.call<number>(nearest, 'add', 1, 2);
  sea.on('connection', (connection: Connection) => connection.on('chat', (said) => connection.send('chat', said)));
  const channel = sea.join('news');
  channel.on('disconnect', (error) => console.log(error?.code));
  channel.send('sports', { sum });
  // @ts-expect-error: a listener is wanted
  channel.on('sports', 7);
}
