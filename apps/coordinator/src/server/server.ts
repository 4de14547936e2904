/** The server of a coordinator: its ports, its certificate and what is mounted where. It knows nothing of runs. */
import type { IncomingMessage } from 'node:http';
import { addressesOf, isEverywhere, isLoopback, withoutPort, type Addresses, type Site } from './addresses.js';
import type { Certificate } from './certificate.js';
import { createForwarded, type Forwarded } from './forwarded.js';
import { createMounts, type MountSlot } from './mounts.js';
import { createPorts, type Listening, type ListenOptions, type Ports } from './ports.js';
import { createSiteCheck, type SiteCheck } from './site-check.js';

export interface ServerOptions {
  /** Names of this server besides its own, in lower case; `*` allows any. */
  readonly allowedHosts: readonly string[];
  /** Every client is a proxy of ours, whose forwarded headers hold. */
  readonly behindProxy: boolean;
  /** Undefined = plain http. */
  readonly certificate?: Certificate | undefined;
}

/** Where something is mounted, as it sees it itself. */
export interface MountPoint {
  /** "" at the root, else "/one": what comes before all paths of the mount. */
  readonly prefix: string;
  readonly forwarded: Forwarded;
  readonly checkSite: SiteCheck;
  /** With the prefix, and without a slash at the end. Only once the server listens. */
  addresses(): MountAddresses;
  /** The address of the mount for links that the sender of a request may pass on: "https://lab.example/one". */
  addressFor(request: IncomingMessage): string;
}

export interface MountAddresses extends Addresses {
  /** "wss://0.0.0.0:7070/one": where the server listens. */
  readonly address: string;
  /** The same on the port without TLS, where there is one. */
  readonly localAddress: string | undefined;
}

export interface Mount extends MountPoint, MountSlot {}

export interface WebServer extends Pick<Ports, 'certificate' | 'renew'> {
  /** Takes a path for one run, which is then reached there and nowhere else. @throws RangeError when it is malformed or taken */
  mount(prefix: string): Mount;
  /** @throws TransportError `port_in_use`, `refused` or `invalid_address` */
  listen(options: ListenOptions): Promise<void>;
  close(): void;
}

export function createWebServer(options: ServerOptions): WebServer {
  const forwarded = createForwarded(options.behindProxy);
  const mounts = createMounts(forwarded);
  const ports = createPorts(mounts, options.certificate);
  const certified = (): readonly string[] => ports.certificate?.names ?? [];
  const checkSite = createSiteCheck({ allowedHosts: options.allowedHosts, certified, forwarded });
  let listening: (Listening & { readonly host: string }) | undefined;
  const reach = (): Reach => {
    if (!listening) throw new Error('a server has no address before it listens');
    const { address, localAddress, host } = listening;
    const site = { ...options, host: withPortOf(address, host), certificate: ports.certificate };
    return reachOf(site, address, localAddress);
  };
  return {
    get certificate() {
      return ports.certificate;
    },
    renew: (certificate) => ports.renew(certificate),
    mount(prefix) {
      const { open, close } = mounts.add(prefix);
      const addresses = (): MountAddresses => below(prefix, reach());
      const addressFor = (request: IncomingMessage): string => originFor(request, forwarded, reach()) + prefix;
      return { prefix, open, close, forwarded, checkSite, addresses, addressFor };
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

/** How the server itself is reached. */
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

/** The host as it was given, which may be a name, with the port that was taken: "localhost:7070". */
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

/** As the sender reached us; but "localhost" in a link leads other machines to themselves. */
function originFor(request: IncomingMessage, forwarded: Forwarded, { everywhere, outside }: Reach): string {
  const host = forwarded.host(request) || 'localhost';
  return everywhere && isLoopback(withoutPort(host)) ? outside : `${forwarded.scheme(request)}://${host}`;
}
