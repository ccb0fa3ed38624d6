// Small helpers: making elements, telling what went wrong, copying.

/** The element with this id in the page. */
export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; `on…` are listeners. Text is text, whatever is in it. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for pictures. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

/** Has a form do something when it is sent, once at a time; what goes wrong is said in `problem`. */
export function onSubmit(form, problem, act) {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (form.ariaBusy === 'true') return;
    form.ariaBusy = 'true';
    problem.textContent = '';
    try {
      await act(new FormData(form));
    } catch (error) {
      problem.textContent = sentence(error);
    } finally {
      form.ariaBusy = 'false';
    }
  });
}

/** What an error says, as a sentence. */
export function sentence(error) {
  const text = String(error?.message ?? error).trim();
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

/** Adds a line to a list that keeps so many, and keeps its end in sight for who has not scrolled up. */
export function addLine(list, line, most) {
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(line);
  while (list.childElementCount > most) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

/** Says something in passing, also to screen readers. */
export function toast(text) {
  const line = make('p', {}, text);
  const toasts = byId('toasts');
  while (toasts.childElementCount > 2) toasts.firstElementChild.remove();
  toasts.append(line);
  setTimeout(() => line.remove(), 5000);
}

/** Copies a text; where a page may not, as over plain HTTP, it is shown to be copied by hand. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} is copied.`);
  } catch {
    prompt(`${what}, to be copied:`, text);
  }
}

export const time = () => new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
