// The tabs of the panel, as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ has them.

import { byId } from './dom.js';

const all = () => [...document.querySelectorAll('[role="tab"]')];

/** Panels that are about one peer. */
const WITH_PEER = ['chat', 'objects'];

/** Makes the tabs work. */
export function tabs() {
  for (const tab of all()) {
    tab.type = 'button';
    tab.onclick = () => select(tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const tabs = all().filter((tab) => !tab.disabled);
      const to = step ? tabs.at((tabs.indexOf(tab) + step) % tabs.length) : { Home: tabs[0], End: tabs.at(-1) }[event.key];
      if (!to) return;
      event.preventDefault();
      select(to);
      to.focus();
    };
  }
  select(byId('tab-ring'));
}

/** Lets all tabs be chosen: before there is a node only the first has something to show. */
export function enableTabs() {
  for (const tab of all()) tab.disabled = false;
}

/** Shows a tab by its name. */
export function showTab(name) {
  select(byId(`tab-${name}`));
}

/** Marks a tab where something new is, unless it is the one that is shown. */
export function mark(name) {
  const tab = byId(`tab-${name}`);
  if (tab.ariaSelected !== 'true') tab.dataset.new = '';
}

function select(tab) {
  for (const one of all()) {
    const isIt = one === tab;
    one.ariaSelected = isIt;
    one.tabIndex = isIt ? 0 : -1;
    byId(one.getAttribute('aria-controls')).hidden = !isIt;
  }
  delete tab.dataset.new;
  const name = tab.id.replace('tab-', '');
  byId('panel').dataset.tab = name;
  byId('panel').classList.toggle('with-peer', WITH_PEER.includes(name));
}
