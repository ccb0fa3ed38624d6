// The Lookup tab: where a text lies on the ring, who owns that place, and the way there.

import { byId, make, onSubmit } from './dom.js';

export function lookupPanel({ node, showWay }) {
  onSubmit(byId('lookup-form'), byId('lookup-problem'), async (form) => {
    const text = form.get('text').trim();
    const result = byId('lookup-result');
    result.replaceChildren();
    const begun = performance.now();
    const { owner, point } = await node.lookup(text);
    const took = performance.now() - begun;
    const hops = await showWay(owner, point);
    const fact = (name, ...said) => [make('dt', {}, name), make('dd', {}, ...said)];
    result.append(
      make('dl', { class: 'facts' },
        ...fact('place', make('code', {}, point)),
        ...fact('owner', make('code', {}, owner), owner === node.id ? ', this tab' : ''),
        ...fact('found in', `${took.toFixed(1)} ms`)),
      make('ol', { class: 'steps', 'aria-label': 'The way to the owner' }, ...hops.map(step)),
    );
  });
}

function step({ id, time }) {
  return make('li', {}, make('code', {}, id), make('span', {}, time === undefined ? 'no answer' : `${time.toFixed(1)} ms`));
}
