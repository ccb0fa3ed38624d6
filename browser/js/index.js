// A node of Atoll in a page. The tutorial is docs/browser.md.

export { Atoll } from './node.js';
export { AtollError } from './error.js';
export { forget } from './keys.js';
export { Id } from './id.js';
