/** What answers under which path of a server. Each mount sees paths as if it were alone, and closes without touching the others. */
import { Server, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { LIMITS } from '@troupe/protocol';
import type { Connection, Listener } from '@troupe/transport';
import { attachWebSocket } from '@troupe/transport/websocket';
import type { Forwarded } from './forwarded.js';
import { refuseUpgrade, sendText } from './http.js';

/** A request as a mount sees it. */
export interface Exchange {
  /** Below the mount, "/" at its root. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** What is mounted. Its paths begin at the mount: "/control". */
export interface Mounted {
  /** Answers every request. Never rejects. */
  answer(exchange: Exchange): Promise<void>;
  /** WebSockets that it shakes hands with itself, by path. */
  readonly upgrades: Readonly<Record<string, Upgrade>>;
  /** Binary links, by path: each is served until it ends. */
  readonly links: Readonly<Record<string, (link: Connection) => Promise<void>>>;
  /** A link could not be served, for a reason that nobody foresaw. */
  onLinkFailed(error: Error): void;
}

/** A path of the server that is taken. Until it is opened, requests are asked to come again. */
export interface MountSlot {
  /** "" at the root, else "/one". */
  readonly prefix: string;
  open(mounted: Mounted): void;
  /** Closes its binary links, and answers nothing from now on. Idempotent. */
  close(reason: string): void;
}

export interface Mounts {
  /** @param prefix "" for the root, else "/one". @throws RangeError when it is malformed or taken */
  add(prefix: string): MountSlot;
  onRequest(request: IncomingMessage, response: ServerResponse): void;
  onUpgrade: Upgrade;
  close(reason: string): void;
}

interface Entry extends MountSlot {
  readonly mounted: Mounted | undefined;
  upgradeAt(path: string): Upgrade | undefined;
}

const PREFIX = /^(\/[\w-]+)*$/;

export function createMounts(forwarded: Pick<Forwarded, 'forwardedFor'>): Mounts {
  const entries = new Map<string, Entry>();
  // Never listens: the links of all mounts are attached to it, and upgrades are handed to it.
  const links = new Server();
  const attach = (path: string): Listener =>
    attachWebSocket(links, path, { frameBytes: LIMITS.frameBytes, clientAddress: forwarded.forwardedFor });

  return {
    add(prefix) {
      if (!PREFIX.test(prefix)) throw new RangeError(`"${prefix}" is no prefix of a mount`);
      if (entries.has(prefix)) throw new RangeError(`something is mounted at "${prefix}" already`);
      const entry = createEntry(prefix, attach, () => entries.delete(prefix));
      entries.set(prefix, entry);
      return entry;
    },
    onRequest(request, response) {
      const pathname = pathOf(request);
      const answering = answer(entryAt(entries, pathname), pathname, request, response);
      answering.catch(() => response.destroy());
    },
    onUpgrade(request, socket, head) {
      const pathname = pathOf(request);
      const entry = entryAt(entries, pathname);
      if (entry && !entry.mounted) return refuseUpgrade(socket, '503 Service Unavailable');
      const upgrade = entry?.upgradeAt(pathname.slice(entry.prefix.length));
      if (upgrade) upgrade(request, socket, head);
      else links.emit('upgrade', request, socket, head);
    },
    close(reason) {
      for (const entry of [...entries.values()]) entry.close(reason);
    },
  };
}

function createEntry(prefix: string, attach: (path: string) => Listener, onClosed: () => void): Entry {
  let mounted: Mounted | undefined;
  let listeners: readonly Listener[] = [];
  return {
    prefix,
    get mounted() {
      return mounted;
    },
    upgradeAt: (path) => (mounted && Object.hasOwn(mounted.upgrades, path) ? mounted.upgrades[path] : undefined),
    open(opened) {
      mounted = opened;
      listeners = Object.entries(opened.links).map(([path, serve]) => {
        const listener = attach(prefix + path);
        serveAll(listener, serve, (error) => opened.onLinkFailed(error));
        return listener;
      });
    },
    close(reason) {
      for (const listener of listeners) listener.close(reason).catch((error: Error) => mounted?.onLinkFailed(error));
      listeners = [];
      onClosed();
    },
  };
}

/** Hands every incoming link to `serve` until the listener closes. */
function serveAll(listener: Listener, serve: (link: Connection) => Promise<void>, onFailed: (error: Error) => void): void {
  const loop = async (): Promise<never> => {
    for (;;) serve(await listener.accept()).catch(onFailed);
  };
  // It ends when the listener is closed, and for no other reason.
  loop().catch(() => undefined);
}

/** The entry with the longest prefix of that path. */
function entryAt(entries: ReadonlyMap<string, Entry>, pathname: string): Entry | undefined {
  let found: Entry | undefined;
  for (const entry of entries.values()) {
    const { prefix } = entry;
    const holds = prefix === '' || pathname === prefix || pathname.startsWith(`${prefix}/`);
    if (holds && (!found || prefix.length > found.prefix.length)) found = entry;
  }
  return found;
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0];
}

async function answer(
  entry: Entry | undefined,
  pathname: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (!entry) return sendText(request, response, 'There is nothing here.\n', { status: 404 });
  if (!entry.mounted) {
    const headers = { 'retry-after': '1' };
    return sendText(request, response, 'The run is about to start.\n', { status: 503, headers });
  }
  const path = pathname.slice(entry.prefix.length);
  const search = request.url?.slice(pathname.length) ?? '';
  if (path !== '') return entry.mounted.answer({ path, query: new URLSearchParams(search), request, response });
  // Pages name their files relative to the slash.
  response.writeHead(308, { location: `${entry.prefix}/${search}` }).end();
}
