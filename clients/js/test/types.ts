// Checked by `npm run types`, never run: a program as one is written, and what must not pass.

import glou = require('..');

interface Counter {
  label: string;
  list: number[];
  deep: { double(n: number): number };
  count(to: number): AsyncGenerator<number>;
}

async function program(): Promise<void> {
  const program = glou('Program', { timeout: 1000 });
  program.on('start', (info) => console.log(info.name, info.hash));
  await program.start();

  await program.provide({
    label: 'counts',
    async *count(to: number) {
      for (let n = 0; n < to; n++) yield n;
    },
    who(this: glou.Call) {
      return this.caller.id;
    },
  });
  program.provide({}, (error) => console.log(error?.message));

  const node = await program.node('@name');
  const counter = await node.service<Counter>('Counter');
  const label: string = counter.label;
  const list: number[] = counter.list;
  const doubled: number = await counter.deep.double(21);
  const all: number[] = await counter.count(3);
  for await (const n of counter.count.stream(3)) console.log(n + 1, label, list, doubled, all);
  for await (const value of node.watch<string>('Counter', 'label')) console.log(value.length);
  const held: glou.Held<number> = await node.call('Counter', 'held');
  console.log((await held(1)) + 1);
  held.release();

  await program.handle('greet', function (who: string) {
    return `hello ${who}, ${this.caller.id}`;
  });
  const greeting: string = await program.call(glou.address('some key'), 'greet', 'you');
  for await (const n of program.stream<number>('@name', 'numbers', 3)) console.log(n + 1, greeting);
  await program.claim('alice');

  const news = program.channel('news', { unsigned: true });
  const number: number = await news.publish('sports', '3:1');
  for await (const message of news.subscribe('sports')) {
    if (message.lagged !== undefined) console.log(message.lagged + number);
    else console.log(message.payload.toString('utf8'), message.publisher);
  }

  // Of which nothing is known, everything goes.
  const any = await node.service('Any');
  await any.whatever.there.is(1, 'two');
  node.service('Any', (error, service) => service.echo((said: string) => console.log(error, said), 'hello'));

  try {
    await node.get('Counter', 'nothing');
  } catch (error) {
    if (error instanceof glou.AtollError && error.kind === 'no-such-value') console.log(error.data);
  }

  // @ts-expect-error the function takes a number
  await counter.deep.double('21');
  // @ts-expect-error a promise is no number
  const early: number = counter.deep.double(21);
  // @ts-expect-error there is no such kind
  const kind: glou.ErrorKind = 'no-such-kind';
  // @ts-expect-error there is no such event
  program.on('begin', (info: glou.Info) => console.log(info, early, kind));
}

void program;
