'use strict';
// A program for tests: `node glou.js SOCKET` provides glou's object, and for each line `PEER` uses that peer's, as a user would.

const readline = require('node:readline');
const glou = require('..')('Glou', { socket: process.argv[2] });

glou.on('start', async () => {
  await glou.provide({
    a: 'information here',
    b: 'more information here',
    echo: (m) => m,
    deep: { x: { f: (n) => 2 * n } },
  });
  console.log(JSON.stringify({ event: 'providing', id: glou.info.hash }));
});
glou.start();

readline.createInterface({ input: process.stdin }).on('line', async (peer) => {
  try {
    const node = await glou.node(peer);
    const svc = await node.service('Glou');
    const seen = [svc.a, await svc.echo('Hello world!'), await svc.deep.x.f(21)];
    console.log(JSON.stringify({ event: 'used', seen }));
  } catch (error) {
    console.log(JSON.stringify({ event: 'used', error: `${error.kind}: ${error.message}` }));
  }
});
