/** Removes private data from texts for viewers without the admin token: addresses of machines, and folders of this machine. */
import { isIP } from 'node:net';
import type { Access, LoggedEvent, WorkerView } from '@troupe/run';

/** What may be an IP address, perhaps with brackets and a port. */
const ADDRESS = /(?<![\w.])\[?[\da-f.:]{2,45}(?:%\w+)?\]?(?::\d{1,5})?/gi;
/** The same directly after a letter: "node10.0.0.1", "host2001:db8::7". */
const ATTACHED =
  /(?<=[a-z_])\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?!\w|\.\d)|(?<=[g-z_])\d[\da-f]{0,3}(?::{1,2}[\da-f]{1,4}){2,7}(?!\w)/gi;
/** How an absolute path begins: a file's URL, a drive or a share of Windows, a home folder, the root. */
const START = String.raw`file:\/+|[A-Za-z]:[\\/](?!\/)|\\\\|~\w*\/|\/`;
/**
 * Absolute paths, in quotes if they contain spaces. After a colon only one slash begins a path, so other URLs do not match;
 * relative paths do not either.
 */
const PATH = new RegExp(
  String.raw`(["'])((?:${START})[^"']*)\1|(?:(?<![\w.~:/\\-])(?:${START})|(?<=:)\/(?!\/))[^\s"',;()]*`,
  'g',
);

/** The text without IP addresses and ports, and with the last part of each absolute path only. */
export function withoutPrivateData(text: string): string {
  return text.replace(PATH, lastPart).replace(ATTACHED, hideAddress).replace(ADDRESS, hideAddress);
}

function lastPart(path: string): string {
  const [, end] = /([^/\\"']*)[/\\]*["']?$/.exec(path)!;
  return end;
}

function hideAddress(found: string): string {
  const end = /[.:]*$/.exec(found)![0];
  const candidate = found.slice(0, found.length - end.length);
  const [address, port] = [candidate, candidate.replace(/:\d+$/, '')].map((one) => one.replace(/^\[|\]$/g, ''));
  return isIP(address) || isIP(port) ? `(address hidden)${end}` : found;
}

/** The events as a viewer with that access may see them. */
export function eventsFor(access: readonly Access[], events: readonly LoggedEvent[]): readonly LoggedEvent[] {
  if (access.includes('admin')) return events;
  return events.map(({ text, remedy, ...rest }) => ({
    ...rest,
    text: withoutPrivateData(text),
    ...(remedy === undefined ? {} : { remedy: withoutPrivateData(remedy) }),
  }));
}

/** The workers as a viewer with that access may see them. A worker without a name has its address as its name. */
export function workersFor(access: readonly Access[], workers: readonly WorkerView[]): readonly WorkerView[] {
  if (access.includes('admin')) return workers;
  return workers.map((worker) => ({
    ...worker,
    name: withoutPrivateData(worker.name),
    reason: withoutPrivateData(worker.reason),
  }));
}
