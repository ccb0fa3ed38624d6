// The Chat tab: lines of text on a socket to another node, which may be a tab, a `node-cli listen -`, or whatever else answers.

import { addLine, byId, make, onSubmit, sentence, time, toast } from './dom.js';
import { mark } from './tabs.js';

/** Conversations that are kept, lines of each, and characters of a line: what is longer is cut in pieces. */
const [TALKS, LINES, CHARACTERS] = [32, 200, 2000];

export function chatPanel(page) {
  const chat = new Chat(page);
  chat.listen();
  document.addEventListener('peer', (event) => chat.show(event.detail));
  onSubmit(byId('chat-form'), byId('chat-problem'), async (form) => {
    await chat.send(form.get('text'));
    byId('chat-text').value = '';
    byId('chat-text').focus();
  });
  return chat;
}

class Chat {
  #page;
  #talks = new Map();
  #shown = '';

  constructor(page) {
    this.#page = page;
  }

  /** Takes the sockets that peers dial. */
  async listen() {
    for await (const socket of this.#page.node.listen()) {
      const talk = this.#talk(socket.peer);
      if (!talk) {
        socket.close();
        continue;
      }
      this.#join(talk, socket);
      this.#add(talk, 'note', `${socket.peer} has dialled you.`);
      if (this.#shown === '') this.#page.choose(socket.peer);
      mark('chat');
      toast(`${socket.peer} has dialled you.`);
    }
  }

  /** Dials the peer that was chosen, if there is no socket to it, and draws the way there. */
  async open() {
    byId('chat-problem').textContent = '';
    try {
      await this.#dialled();
    } catch (error) {
      byId('chat-problem').textContent = sentence(error);
    }
  }

  async send(text) {
    const talk = await this.#dialled();
    await talk.writer.write(`${text}\n`);
    this.#add(talk, 'mine', text);
  }

  show(peer) {
    this.#shown = peer;
    const talk = this.#talks.get(peer);
    byId('chat-problem').textContent = '';
    byId('chat-lines').replaceChildren(...(talk?.lines ?? []));
    byId('chat-lines').scrollTop = byId('chat-lines').scrollHeight;
  }

  async #dialled() {
    const { node, peer, choose, showWay } = this.#page;
    const who = peer();
    const id = await node.peer(who).id();
    const talk = this.#talk(id);
    if (!talk) throw new Error(`there are ${TALKS} conversations already; load the page again to forget them`);
    if (who !== id) choose(id);
    if (!talk.writer) {
      this.#join(talk, await node.dial(id));
      showWay(id).catch(() => {});
    }
    return talk;
  }

  #talk(peer) {
    if (!this.#talks.has(peer) && this.#talks.size < TALKS) this.#talks.set(peer, { peer, lines: [], writer: undefined });
    return this.#talks.get(peer);
  }

  /** Says what comes on a socket, until it ends. */
  async #join(talk, socket) {
    const writer = socket.writable.getWriter();
    talk.writer = writer;
    try {
      for await (const line of linesOf(socket.readable)) {
        this.#add(talk, 'theirs', line);
        mark('chat');
      }
      if (talk.writer === writer) this.#add(talk, 'note', `${talk.peer} has hung up.`);
    } catch (error) {
      this.#add(talk, 'note', sentence(error));
    }
    if (talk.writer === writer) talk.writer = undefined;
    writer.close().catch(() => {});
  }

  #add(talk, kind, text) {
    const line = make('p', { class: `line ${kind}` }, text);
    if (kind !== 'note') line.append(make('time', {}, time()));
    talk.lines.push(line);
    if (talk.lines.length > LINES) talk.lines.shift();
    if (talk.peer === this.#shown) addLine(byId('chat-lines'), line, LINES);
  }
}

/** The lines of a stream of bytes. One without an end is cut. */
async function* linesOf(readable) {
  const decoder = new TextDecoder();
  let rest = '';
  for (const reader = readable.getReader(); ; ) {
    const { value, done } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split(/\r?\n/);
    rest = lines.pop();
    if (done || rest.length > CHARACTERS) {
      lines.push(rest);
      rest = '';
    }
    for (const line of lines) for (let at = 0; at < line.length; at += CHARACTERS) yield line.slice(at, at + CHARACTERS);
    if (done) return;
  }
}
