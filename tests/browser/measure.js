// What the measurements run in their tabs: the same work over a plain data channel and over a socket of the ring.

/** Milliseconds of each of so many round trips of 64 bytes, one after the other. */
async function roundTrips(count, trip) {
  const times = [];
  for (let at = 0; at < count; at += 1) {
    const begun = performance.now();
    await trip();
    times.push(performance.now() - begun);
  }
  return times;
}

const raw = {};

/** One end of a plain data channel; the first makes the offer. */
globalThis.rawBegin = async (options, offer) => {
  const peer = new RTCPeerConnection();
  const channel = peer.createDataChannel('raw', { negotiated: true, id: 0, ...options });
  channel.binaryType = 'arraybuffer';
  Object.assign(raw, { peer, channel, opened: new Promise((resolve) => (channel.onopen = resolve)) });
  if (offer) await peer.setRemoteDescription(offer);
  await peer.setLocalDescription();
  while (peer.iceGatheringState !== 'complete') await new Promise((resolve) => peer.addEventListener('icegatheringstatechange', resolve, { once: true }));
  return { type: peer.localDescription.type, sdp: peer.localDescription.sdp };
};

globalThis.rawAccept = (answer) => raw.peer.setRemoteDescription(answer);

globalThis.rawEcho = async () => {
  await raw.opened;
  raw.channel.onmessage = ({ data }) => raw.channel.send(data);
};

globalThis.rawTrips = async (count) => {
  await raw.opened;
  const message = new Uint8Array(64);
  return roundTrips(count, () => new Promise((resolve) => {
    raw.channel.onmessage = resolve;
    raw.channel.send(message);
  }));
};

/** Counts what comes until there are so many bytes; gives bytes a second, from the first byte on. */
globalThis.rawCount = async (bytes) => {
  await raw.opened;
  return new Promise((resolve) => {
    let [got, begun] = [0, undefined];
    raw.channel.onmessage = ({ data }) => {
      begun ??= performance.now();
      got += data.byteLength;
      if (got >= bytes) resolve((1000 * got) / (performance.now() - begun));
    };
  });
};

globalThis.rawSend = async (bytes) => {
  await raw.opened;
  const piece = new Uint8Array(16 * 1024);
  raw.channel.bufferedAmountLowThreshold = 64 * 1024;
  for (let sent = 0; sent < bytes; sent += piece.length) {
    if (raw.channel.bufferedAmount > 128 * 1024) await new Promise((resolve) => (raw.channel.onbufferedamountlow = resolve));
    raw.channel.send(piece);
  }
};

globalThis.socketTrips = async (peer, count) => {
  const socket = await node.dial(peer);
  const [reader, writer] = [socket.readable.getReader(), socket.writable.getWriter()];
  const message = new Uint8Array(64);
  const times = await roundTrips(count, async () => {
    await writer.write(message);
    for (let got = 0; got < message.length; ) got += (await reader.read()).value.length;
  });
  await writer.close();
  return times;
};

globalThis.callTrips = async (peer, count) => {
  const echo = await node.peer(peer).service('Echo');
  return roundTrips(count, () => echo.echo('x'.repeat(64)));
};

/** Takes one socket of this kind and counts its bytes; gives bytes a second, from the first byte on. */
globalThis.socketCount = async () => {
  for await (const socket of node.listen({ protocol: 'measure' })) {
    let [got, begun] = [0, undefined];
    for await (const piece of socket.readable) {
      begun ??= performance.now();
      got += piece.length;
    }
    return (1000 * got) / (performance.now() - begun);
  }
};

globalThis.socketSend = async (peer, bytes) => {
  const socket = await node.dial(peer, { protocol: 'measure' });
  const writer = socket.writable.getWriter();
  const piece = new Uint8Array(64 * 1024);
  for (let sent = 0; sent < bytes; sent += piece.length) await writer.write(piece);
  await writer.close();
};

/** Joins and leaves so often; gives the bytes of the module's memory after each, and the connections of the page. */
globalThis.joinAndLeave = async (signalling, times) => {
  const { memory } = await import('/wasm/atoll_web.js').then((module) => module.default());
  const rounds = [];
  for (let at = 0; at < times; at += 1) {
    const node = await Atoll.join({ signalling });
    await node.close();
    rounds.push({ bytes: memory.buffer.byteLength, ...Atoll.connections });
  }
  return rounds;
};
