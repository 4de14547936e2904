/** The server of a coordinator: its ports, its certificate and its mounts. It knows nothing of runs. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { isLoopback } from '@troupe/process';
import { addressKey, createDoorkeeper, LIMITS } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { addressesOf, isEverywhere, withoutPort, type Addresses, type Site } from './addresses.js';
import type { Certificate } from './certificate.js';
import { createForwarded, type Forwarded } from './forwarded.js';
import { createMounts, type MountSlot } from './mounts.js';
import { dividePlaces } from './places.js';
import { createPorts, type Listening, type ListenOptions, type Ports } from './ports.js';
import { capTable, createCaps } from './caps.js';
import { createSiteCheck, type SiteCheck } from './site-check.js';
import { createSocketCount, createTraffic, type Traffic } from './traffic.js';

export interface ServerOptions {
  /** Additional names of this server, in lower case; `*` allows any. */
  readonly allowedHosts: readonly string[];
  /** All connections come from a proxy, whose headers are trusted. */
  readonly behindProxy: boolean;
  /** Number of proxies in a row. Default 1. */
  readonly proxyHops?: number;
  /** Path under which a proxy serves this server, such as "/troupe". Default "". The proxy may keep or strip it. */
  readonly pathPrefix?: string;
  /** Multiplies what one address may have open and send. Default 1; 0: there are no caps. */
  readonly capScale?: number;
  /** How many sockets may be open. Default: what the process may have, if nothing else in it listens. */
  readonly places?: number;
  /** Undefined: serve http. */
  readonly certificate?: Certificate | undefined;
}

/** The view that a run has of the server. */
export interface MountPoint {
  /** Comes before all paths of the mount, as clients see them: "" at the root, otherwise for example "/troupe/one". */
  readonly prefix: string;
  readonly forwarded: Forwarded;
  readonly checkSite: SiteCheck;
  /** Whom a request counts for; see `addressKey`. */
  addressOf(request: IncomingMessage): string | undefined;
  /** Counts what the addresses of all mounts have open and send. */
  readonly traffic: Traffic;
  /** Somebody with a token is at the other end of the socket of an upgrade. */
  admit(socket: Socket): void;
  /** They include the prefix and have no slash at the end. Call it only when the server listens. */
  addresses(): MountAddresses;
  /** The address of the mount, for links that the sender of a request may pass on: "https://lab.example/one". */
  addressFor(request: IncomingMessage): string;
}

export interface MountAddresses extends Addresses {
  /** Where the server listens: "wss://0.0.0.0:7070/one". */
  readonly address: string;
  /** The same on the port without TLS, if there is one. */
  readonly localAddress: string | undefined;
}

export interface Mount extends MountPoint, MountSlot {}

export interface WebServer extends Pick<Ports, 'certificate' | 'renew'> {
  /** Reserves a path for one run. @throws RangeError if it is malformed or taken */
  mount(path: string): Mount;
  /** @throws TransportError `port_in_use`, `refused` or `invalid_address` */
  listen(options: ListenOptions): Promise<void>;
  close(): void;
}

export function createWebServer(options: ServerOptions): WebServer {
  const forwarded = createForwarded(options.behindProxy ? (options.proxyHops ?? 1) : 0);
  const { pathPrefix = '' } = options;
  const { capScale = 1 } = options;
  const nowMs = (): number => performance.now();
  const doors = createDoorkeeper(options.places ?? dividePlaces(0).server, options.behindProxy);
  const sockets = new WeakMap<Connection, Socket>();
  const admitted = (socket: Socket | undefined): void => {
    if (socket) doors.admit(socket);
  };
  const traffic = createTraffic(createCaps(capTable(capScale)), nowMs, (link) => admitted(sockets.get(link)));
  // Behind a proxy all sockets come from it.
  const accepts = options.behindProxy
    ? () => true
    : createSocketCount(createCaps(capTable(capScale * LIMITS.cappedSocketsPerLink)), nowMs);
  const addressOf = (request: IncomingMessage): string | undefined =>
    addressKey(forwarded.address(request), forwarded.forwardedFor(request) !== undefined);
  const certified = (): readonly string[] => ports.certificate?.names ?? [];
  const checkSite = createSiteCheck({ allowedHosts: options.allowedHosts, certified, forwarded });
  const mounts = createMounts(forwarded, {
    pathPrefix,
    isOwnPage: (request) => checkSite.isOwnPage(request),
    onOpen: (link, { socket }) => void sockets.set(link, socket),
    meter: (link) => traffic.meter(link),
  });
  const hear = (request: IncomingMessage): void => doors.hear(request.socket, forwarded.address(request));
  const ports = createPorts(
    { ...mounts, accepts: (socket) => accepts(socket) && doors.enter(socket), hear },
    options.certificate,
  );
  let listening: (Listening & { readonly host: string }) | undefined;
  const reach = (): Reach => {
    if (!listening) throw new Error('the server does not listen yet');
    const { address, localAddress, host } = listening;
    const site = { ...options, host: withPortOf(address, host), certificate: ports.certificate };
    return reachOf(site, address, localAddress);
  };
  return {
    get certificate() {
      return ports.certificate;
    },
    renew: (certificate) => ports.renew(certificate),
    mount(path) {
      const { open, close } = mounts.add(path);
      const prefix = pathPrefix + path;
      const addresses = (): MountAddresses => below(prefix, reach());
      const addressFor = (request: IncomingMessage): string => originFor(request, forwarded, reach()) + prefix;
      return { prefix, open, close, forwarded, checkSite, addressOf, traffic, addresses, addressFor, admit: admitted };
    },
    async listen(how) {
      listening = { ...(await ports.listen(how)), host: how.host };
    },
    close() {
      mounts.close('the server ends');
      ports.close();
    },
  };
}

/** The addresses of the server itself. */
interface Reach extends MountAddresses {
  /** It listens on all addresses of this machine. */
  readonly everywhere: boolean;
}

function reachOf(site: Site, address: string, localAddress: string | undefined): Reach {
  return {
    ...addressesOf(site),
    address: `${site.certificate ? 'wss' : 'ws'}://${address}`,
    localAddress: localAddress === undefined ? undefined : `ws://${localAddress}`,
    everywhere: isEverywhere(withoutPort(site.host)),
  };
}

/** The given host, which may be a name, with the actual port: "localhost:7070". */
function withPortOf(address: string, host: string): string {
  const [port] = /:\d+$/.exec(address)!;
  return `${host.includes(':') ? `[${host}]` : host}${port}`;
}

function below(prefix: string, { address, localAddress, here, outside }: MountAddresses): MountAddresses {
  return {
    address: address + prefix,
    localAddress: localAddress === undefined ? undefined : localAddress + prefix,
    here: here + prefix,
    outside: outside + prefix,
  };
}

/** The host of the request, except that "localhost" in a link would lead other machines to themselves. */
function originFor(request: IncomingMessage, forwarded: Forwarded, { everywhere, outside }: Reach): string {
  const host = forwarded.host(request) || 'localhost';
  return everywhere && isLoopback(withoutPort(host)) ? outside : `${forwarded.scheme(request)}://${host}`;
}
