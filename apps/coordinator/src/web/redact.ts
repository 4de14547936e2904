/** Removes private data from texts for viewers without the admin token: addresses of machines, and folders of this machine. */
import { isIP } from 'node:net';
import type { Access, LoggedEvent, WorkerView } from '@troupe/run';

/** What may be an IP address, perhaps with brackets and a port. */
const ADDRESS = /(?<![\w.])\[?[\da-f.:]{2,45}(?:%\w+)?\]?(?::\d{1,5})?/gi;
/** Absolute paths of POSIX and Windows, in quotes if they contain spaces. URLs and relative paths do not match. */
const PATH = /(["'])((?:[A-Za-z]:\\|~?\/)[^"']*)\1|(?<![\w.~:/\\-])(?:[A-Za-z]:\\|~?\/)[^\s"',;()]*/g;

/** The text without IP addresses and ports, and with the last part of each absolute path only. */
export function withoutPrivateData(text: string): string {
  return text.replace(PATH, lastPart).replace(ADDRESS, hideAddress);
}

function lastPart(path: string): string {
  const [, end] = /([^/\\"':]*)[/\\:]*["']?$/.exec(path)!;
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
