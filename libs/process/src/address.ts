/** The address of a coordinator, as people give it to a worker. */
import { isIP } from 'node:net';
import { UsageError } from './options.js';

/** The path of a coordinator's links for workers, and of its page for volunteers. */
const CONTROL = '/control';
const VOLUNTEER_PAGE = /\/join\/?$/;

export interface JoinTarget {
  /** "wss://host:port/control". */
  readonly address: string;
  /** The join token, if the address contains it. */
  readonly token?: string;
}

/**
 * Where a worker joins. "host:7070", "ws://host:7070" and "ws://host:7070/control" mean the same,
 * and the link of the page for volunteers leads to the same run, token included.
 * @throws UsageError
 */
export function joinTarget(text: string): JoinTarget {
  const url = urlOf(text);
  const fragment = new URLSearchParams(url.hash.slice(1));
  if (fragment.has('admin')) {
    throw new UsageError(
      'This is the link of the dashboard, which controls the run.',
      'Give the link for volunteers, or ws://HOST:PORT.',
    );
  }
  const scheme = url.protocol === 'https:' || url.protocol === 'wss:' ? 'wss:' : 'ws:';
  const token = fragment.get('token');
  return { address: `${scheme}//${url.host}${controlPath(url.pathname)}`, ...(token ? { token } : {}) };
}

/** A run may be under a path: "/troupe" means "/troupe/control". */
function controlPath(path: string): string {
  const run = path.replace(VOLUNTEER_PAGE, '').replace(/\/+$/, '');
  return run.endsWith(CONTROL) ? run : run + CONTROL;
}

function urlOf(text: string): URL {
  const remedy = 'Write it as ws://HOST:PORT or wss://HOST:PORT, with an IPv6 address in brackets: ws://[::1]:7070.';
  // What follows "#" may be a token, which no message repeats.
  const shown = text.replace(/#.*/su, '#...');
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `ws://${text}`;
  const port = Number(/:(\d+)(?:[/?#]|$)/.exec(full)?.[1] ?? 0);
  if (port > 65_535) throw new UsageError(`${shown} is not an address: ports end at 65535, and this one is ${port}.`, remedy);
  if (!URL.canParse(full)) throw new UsageError(`${shown} is not an address.`, remedy);
  const url = new URL(full);
  if (['ws:', 'wss:', 'http:', 'https:'].includes(url.protocol)) return url;
  throw new UsageError(`${shown} is not the address of a coordinator.`, remedy);
}

/** Whether only this machine can reach a server that listens on this host. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[|\]$/g, '').toLowerCase();
  return name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'));
}
