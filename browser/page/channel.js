// The Channel tab: what one member of a channel says comes to all.

import { addLine, byId, make, onSubmit, sentence, time } from './dom.js';
import { mark } from './tabs.js';

/** The scope under which the page publishes; others may use further ones on the same channel. */
const SCOPE = 'chat';

/** Lines that are kept, and characters of a line and a name that are shown. */
const [LINES, CHARACTERS, NICK] = [300, 2000, 32];

export function channelPanel({ node }) {
  let channel;
  const [room, lines, problem] = [byId('channel-room'), byId('channel-lines'), byId('channel-problem')];

  onSubmit(byId('channel-form'), problem, async (form) => {
    if (channel) await leave();
    else await join(form.get('name').trim(), form.get('nick').trim());
    byId('channel-join').textContent = channel ? 'Leave' : 'Join';
    byId('channel-name').disabled = byId('channel-nick').disabled = channel !== undefined;
    room.hidden = channel === undefined;
    if (channel) byId('channel-text').focus();
  });

  onSubmit(byId('channel-say'), problem, async (form) => {
    await channel.publish(SCOPE, form.get('text'));
    byId('channel-text').value = '';
    byId('channel-text').focus();
  });

  async function join(name, nick) {
    channel = await node.channel(name);
    lines.replaceChildren();
    read(channel);
    for (const type of ['memberjoin', 'memberupdate', 'memberleave']) channel.addEventListener(type, () => members(channel));
    await channel.announce({ nick });
    members(channel);
  }

  async function leave() {
    const left = channel;
    channel = undefined;
    await left.leave();
  }

  async function read(joined) {
    try {
      for await (const { publisher, message, missed } of joined.subscribe(SCOPE)) {
        if (missed > 0) note(`${missed} messages are lost.`);
        if (typeof message !== 'string') continue;
        const isMine = publisher === node.id;
        const line = make('p', { class: `line ${isMine ? 'mine' : 'theirs'}` });
        if (!isMine) line.append(make('b', { title: publisher }, nameOf(joined, publisher)));
        line.append(message.slice(0, CHARACTERS), make('time', {}, time()));
        addLine(lines, line, LINES);
        if (!isMine) mark('channel');
      }
    } catch (error) {
      note(sentence(error));
    }
  }

  function members(joined) {
    if (joined !== channel) return;
    const there = joined.members.map(({ id }) => (id === node.id ? 'you' : nameOf(joined, id)));
    byId('channel-members').textContent = there.length > 0 ? `Here: ${there.join(', ')}` : '';
  }

  function note(text) {
    addLine(lines, make('p', { class: 'line note' }, text), LINES);
  }
}

/** What a member calls itself, with the beginning of its id, which nobody else has. */
function nameOf(channel, id) {
  const nick = channel.members.find((member) => member.id === id)?.data?.nick;
  return typeof nick === 'string' && nick !== '' ? `${nick.slice(0, NICK)} (${id.slice(0, 4)})` : id;
}
