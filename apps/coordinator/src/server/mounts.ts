/** Maps the paths of a server to mounts. Each mount sees paths relative to itself, and closes without affecting the others. */
import { Server, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { LIMITS } from '@troupe/protocol';
import type { Connection, Listener } from '@troupe/transport';
import { attachWebSocket } from '@troupe/transport/websocket';
import type { Forwarded } from './forwarded.js';
import { refuseUpgrade, sendText } from './http.js';

/** A request as a mount sees it. */
export interface Exchange {
  /** Relative to the mount; "/" at its root. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** What is mounted. Its paths are relative to the mount: "/control". */
export interface Mounted {
  /** Answers every request. Never rejects. */
  answer(exchange: Exchange): Promise<void>;
  /** Handlers of upgrade requests that it answers itself, by path. */
  readonly upgrades: Readonly<Record<string, Upgrade>>;
  /** Servers of binary links by path. Each serves a link until it ends. */
  readonly links: Readonly<Record<string, (link: Connection) => Promise<void>>>;
  /** By path: above so many unread bytes a socket is paused. Default: that of the transport. */
  readonly unreadBytes?: Readonly<Record<string, number>>;
  /** A link ended with an unexpected error. */
  onLinkFailed(error: Error): void;
}

/** A reserved path of the server. Until it is opened, requests are answered with 503. */
export interface MountSlot {
  /** "" at the root, otherwise for example "/one". */
  readonly prefix: string;
  open(mounted: Mounted): void;
  /** Closes its binary links and no longer answers. Idempotent. */
  close(reason: string): void;
}

export interface Mounts {
  /** @param prefix "" for the root, otherwise for example "/one". @throws RangeError if it is malformed or taken */
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

export interface MountsOptions {
  /** Of the server, as clients see it behind a proxy. Requests may contain it or not. */
  readonly pathPrefix?: string;
  /** A link is open that this request has asked for. */
  onOpen?(link: Connection, request: IncomingMessage): void;
  /** Whether a request comes from a page of this server, or from no page. Every upgrade is asked. */
  isOwnPage(request: IncomingMessage): boolean;
  /** Counts what comes over an incoming link. */
  meter(link: Connection): Connection;
}

export function createMounts(
  forwarded: Pick<Forwarded, 'forwardedFor'>,
  { pathPrefix = '', isOwnPage, onOpen, meter }: MountsOptions,
): Mounts {
  const entries = new Map<string, Entry>();
  // This server never listens. The links of all mounts are attached to it, and it receives upgrade requests.
  const links = new Server();
  const attach = (path: string, unreadBytes: number = LIMITS.receivedBytes): Listener =>
    attachWebSocket(links, path, {
      ...{ frameBytes: LIMITS.frameBytes, unreadBytes, clientAddress: forwarded.forwardedFor },
      ...(onOpen && { onOpen }),
    });

  return {
    add(prefix) {
      if (!PREFIX.test(prefix)) throw new RangeError(`"${prefix}" is not a valid prefix`);
      if (entries.has(prefix)) throw new RangeError(`the prefix "${prefix}" is already in use`);
      const entry = createEntry(prefix, attach, meter, () => entries.delete(prefix));
      entries.set(prefix, entry);
      return entry;
    },
    onRequest(request, response) {
      stripPrefix(request, pathPrefix);
      const pathname = pathOf(request);
      const answering = answer(entryAt(entries, pathname), pathname, request, response, pathPrefix);
      answering.catch(() => response.destroy());
    },
    onUpgrade(request, socket, head) {
      stripPrefix(request, pathPrefix);
      const pathname = pathOf(request);
      const entry = entryAt(entries, pathname);
      if (!isOwnPage(request)) return refuseUpgrade(socket, '403 Forbidden');
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

function createEntry(
  prefix: string,
  attach: (path: string, unreadBytes?: number) => Listener,
  meter: MountsOptions['meter'],
  onClosed: () => void,
): Entry {
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
        const listener = attach(prefix + path, opened.unreadBytes?.[path]);
        serveAll(
          listener,
          (link) => serve(meter(link)),
          (error) => opened.onLinkFailed(error),
        );
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

/** Passes every incoming link to `serve` until the listener closes. */
function serveAll(listener: Listener, serve: (link: Connection) => Promise<void>, onFailed: (error: Error) => void): void {
  const loop = async (): Promise<never> => {
    for (;;) serve(await listener.accept()).catch(onFailed);
  };
  // It ends only when the listener is closed.
  loop().catch(() => undefined);
}

/** The entry with the longest matching prefix. */
function entryAt(entries: ReadonlyMap<string, Entry>, pathname: string): Entry | undefined {
  let found: Entry | undefined;
  for (const entry of entries.values()) {
    const { prefix } = entry;
    const holds = prefix === '' || pathname === prefix || pathname.startsWith(`${prefix}/`);
    if (holds && (!found || prefix.length > found.prefix.length)) found = entry;
  }
  return found;
}

/** A proxy may have done it already. */
function stripPrefix(request: IncomingMessage, pathPrefix: string): void {
  const pathname = pathOf(request);
  if (pathname === pathPrefix || pathname.startsWith(`${pathPrefix}/`)) request.url = request.url?.slice(pathPrefix.length);
}

function pathOf({ url = '/' }: IncomingMessage): string {
  return url.split('?', 1)[0];
}

async function answer(
  entry: Entry | undefined,
  pathname: string,
  request: IncomingMessage,
  response: ServerResponse,
  pathPrefix: string,
): Promise<void> {
  if (!entry) return sendText(request, response, 'There is nothing here.\n', { status: 404 });
  if (!entry.mounted) {
    const headers = { 'retry-after': '1' };
    return sendText(request, response, 'The run is starting. Try again in a moment.\n', { status: 503, headers });
  }
  const path = pathname.slice(entry.prefix.length);
  const search = request.url?.slice(pathname.length) ?? '';
  if (path !== '') return entry.mounted.answer({ path, query: new URLSearchParams(search), request, response });
  // The pages refer to their files relative to the slash.
  response.writeHead(308, { location: `${pathPrefix}${entry.prefix}/${search}` }).end();
}
