/** The addresses that a coordinator prints, by which it can be reached. */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isLoopback } from '@troupe/process';
import type { Certificate } from './certificate.js';

/** Stands for the address of a machine that is in no network. */
export const UNKNOWN_HOST = 'THIS-MACHINE';

export interface Site {
  /** Where the server listens: "0.0.0.0:7070". */
  readonly host: string;
  readonly certificate: Pick<Certificate, 'names' | 'covers'> | undefined;
  readonly behindProxy: boolean;
  /** Additional names of this server. */
  readonly allowedHosts: readonly string[];
}

export interface Addresses {
  /** For a browser on this machine: "https://lab.example:7070". */
  readonly here: string;
  /** For other machines. */
  readonly outside: string;
}

/**
 * A proxy is assumed to have the first allowed name and the standard port. A certificate is valid only for its names, so the
 * result is the first address that it covers.
 */
export function addressesOf(site: Site, lan = lanAddresses()): Addresses {
  const { certificate, behindProxy, host } = site;
  const [, name, port] = /^(.*):(\d+)$/.exec(host)!;
  const names = site.allowedHosts.filter((one) => one !== '*');
  if (behindProxy && names.length > 0) {
    const proxy = `https://${bracketed(names[0])}`;
    return { here: proxy, outside: proxy };
  }
  const everywhere = isEverywhere(name);
  const outside = everywhere ? (lan[0] ?? UNKNOWN_HOST) : name;
  const here = everywhere ? '127.0.0.1' : name;
  if (!certificate) return { here: `http://${here}:${port}`, outside: `http://${outside}:${port}` };
  const covered = (...wanted: string[]): string | undefined => wanted.find((one) => certificate.covers(unbracketed(one)));
  // If only this machine can connect, a name of the certificate may lead to an address where nothing listens.
  const guess = isLoopback(name) ? undefined : certificate.names.find((one) => !isLoopback(one));
  const forOthers = covered(...names.map(withoutPort), ...(everywhere ? lan : [name])) ?? guess ?? outside;
  const own = covered(here, 'localhost') ?? forOthers;
  return { here: `https://${bracketed(own)}:${port}`, outside: `https://${bracketed(forOthers)}:${port}` };
}

/** Addresses by which other machines of the network may reach this one. */
function lanAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
}

/** The name in "lab.example:7070". */
export function withoutPort(host: string): string {
  return host.replace(/:\d+$/, '');
}

/** Whether the server listens on all interfaces, which is not an address to connect to. */
export function isEverywhere(host: string): boolean {
  return ['0.0.0.0', '::'].includes(unbracketed(host));
}

function unbracketed(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
