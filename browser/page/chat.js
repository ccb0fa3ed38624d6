// The Chat tab: lines of text on a socket to another node, which may be a tab, a `node-cli listen -`, or whatever else answers.

import { addLine, byId, make, onSubmit, sentence, time, toast } from './dom.js';
import { mark } from './tabs.js';

/** Conversations that are kept, lines of each, and characters of a line: what is longer is cut in pieces. */
const [TALKS, LINES, CHARACTERS] = [32, 200, 2000];

export function chatPanel(page) {
  const chat = new Chat(page);
  chat.listen().catch((error) => toast(sentence(error)));
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
      this.#news(talk);
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
    if (talk) talk.isNew = false;
    this.#list();
    byId('chat-problem').textContent = '';
    byId('chat-lines').replaceChildren(...(talk?.lines ?? []));
    byId('chat-lines').scrollTop = byId('chat-lines').scrollHeight;
  }

  async #dialled() {
    const { node, peer, choose, showWay } = this.#page;
    const who = peer();
    const id = await node.peer(who).id();
    if (who !== id) choose(id);
    const open = this.#talks.get(id);
    if (open?.writer) return open;
    const socket = await node.dial(id);
    const talk = this.#talk(id);
    if (!talk) {
      socket.close();
      throw new Error(`there are ${TALKS} conversations already; load the page again to forget them`);
    }
    this.#join(talk, socket);
    // Beside the point, if it fails.
    showWay(id).catch(() => {});
    return talk;
  }

  #talk(peer) {
    if (!this.#talks.has(peer) && this.#talks.size < TALKS) {
      this.#talks.set(peer, { peer, lines: [], writer: undefined, isNew: false });
      this.#list();
    }
    return this.#talks.get(peer);
  }

  /** Something has come: it is marked where it does not show. */
  #news(talk) {
    mark('chat');
    talk.isNew = talk.peer !== this.#shown;
    this.#list();
  }

  /** The conversations to choose from, once there are several. */
  #list() {
    const talks = [...this.#talks.values()];
    const button = ({ peer, isNew }) => {
      const isShown = peer === this.#shown;
      const choose = () => this.#page.choose(peer);
      const mark = isNew ? make('span', { class: 'unseen' }, ', something new') : undefined;
      return make('button', { type: 'button', class: 'talk', 'aria-pressed': `${isShown}`, title: peer, 'data-new': isNew, onclick: choose }, peer.slice(0, 4), mark);
    };
    const isChoice = talks.length > 1 || talks.some(({ peer }) => peer !== this.#shown);
    byId('talks').replaceChildren(...(isChoice ? talks.map(button) : []));
  }

  /** Says what comes on a socket, until it ends. */
  async #join(talk, socket) {
    const writer = socket.writable.getWriter();
    talk.writer = writer;
    try {
      for await (const line of linesOf(socket.readable)) {
        this.#add(talk, 'theirs', line);
        this.#news(talk);
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
