// A page as one writes it with Vite and TypeScript, of the package as npm installs it.

import { Atoll, AtollError } from 'atoll-web';
import { explorer } from 'atoll-web/explorer';
import { sea } from 'atoll-web/sea';

declare global {
  var told: string | undefined;
}

try {
  const signalling = new URLSearchParams(location.search).get('signalling') ?? '';
  const node: Atoll = await Atoll.join({ signalling });
  await node.provide('Echo', { echo: (message: string) => message });
  const echo = await node.peer(node.id).service<{ echo(message: string): string }>('Echo');
  globalThis.told = `${await echo.echo(node.id)} ${typeof explorer} ${sea.online()}`;
} catch (error) {
  globalThis.told = error instanceof AtollError ? `${error.code}: ${error.message}` : String(error);
}
