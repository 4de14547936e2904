/** Tells the local network about the run, so that workers find it without its address. */
import { isIP } from 'node:net';
import path from 'node:path';
import { advertise, type RunAdvert } from '@troupe/transport/discovery';
import { isLoopback } from '@troupe/process';
import { isEverywhere } from './server/addresses.js';
import type { Note } from './server/notes.js';
import type { MountPoint } from './server/server.js';
import { SettingsError, type Settings } from './settings.js';
import { PATHS } from './web/path-names.js';

type Mount = Pick<MountPoint, 'prefix' | 'addresses'>;

export interface Discoverable {
  readonly runId: string;
  readonly mount: Mount;
  readonly settings: Pick<Settings, 'name' | 'organizer' | 'corpus' | 'host'>;
  /** Aborts when the run is over. */
  readonly signal: AbortSignal;
  onNote(note: Note): void;
}

/** @throws SettingsError if others could find the run and not reach it. Behind a proxy they reach that. */
export function checkDiscoverable({ discoverable, host, behindProxy, allowedHosts }: Settings): void {
  if (!discoverable || !isLoopback(host) || (behindProxy && allowedHosts.length > 0)) return;
  throw new SettingsError(
    `--discoverable is for runs that other machines reach, and ${host} is this machine alone`,
    'Give --host 0.0.0.0 as well, or leave --discoverable out.',
  );
}

/** Resolves when the network has been told that the run is over. Never rejects. */
export async function makeDiscoverable({ runId, mount, settings, signal, onNote }: Discoverable): Promise<void> {
  onNote({ level: 'info', text: 'workers on this network find the run without its address, and need its token to join' });
  await advertise(advertOf(runId, mount, settings), {
    signal,
    ip: isIP(settings.host) !== 0 && !isEverywhere(settings.host) ? settings.host : undefined,
    onProblem: ({ message }) => {
      const text = `workers may not find the run without its address: ${message}`;
      onNote({ level: 'warn', text, remedy: 'Give them the address. UDP port 5353 must be free for programs to share.' });
    },
  });
}

/** A certificate, a proxy and a name to listen on lead to a run by that name alone; otherwise any address of this machine does. */
export function advertOf(
  runId: string,
  { prefix, addresses }: Mount,
  { name, organizer, corpus, host }: Discoverable['settings'],
): RunAdvert {
  const { address, outside } = addresses();
  const runPath = prefix === '' ? '' : prefix + PATHS.control;
  const needsName = outside.startsWith('https:') || isIP(host) === 0;
  const origin = new URL(outside).origin.replace(/^http/, 'ws');
  return {
    id: runId,
    name: name ?? path.basename(corpus),
    organizer,
    port: Number(/:(\d+)/.exec(address.replace(/^wss?:\/\/(?:\[[^\]]*\])?/, ''))![1]),
    path: runPath,
    address: needsName ? origin + runPath : undefined,
  };
}
