/** Under which addresses a coordinator is told to be reached. */
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Certificate } from './certificate.js';

export interface Site {
  /** "0.0.0.0:7070": where the server listens. */
  readonly host: string;
  readonly certificate: Pick<Certificate, 'names' | 'covers'> | undefined;
  readonly behindProxy: boolean;
  /** Names of this server besides its own. */
  readonly allowedHosts: readonly string[];
}

export interface Addresses {
  /** "https://lab.example:7070": for this machine's own browser. */
  readonly here: string;
  /** For other machines. */
  readonly outside: string;
}

/**
 * A proxy is taken to be found under the first name that is allowed, at the usual port. A certificate is good for its names alone: of
 * the addresses that lead here the first that it covers is told.
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
  const outside = everywhere ? (lan[0] ?? 'THIS-MACHINE') : name;
  const here = everywhere ? '127.0.0.1' : name;
  if (!certificate) return { here: `http://${here}:${port}`, outside: `http://${outside}:${port}` };
  const proven = (...wanted: string[]): string | undefined => wanted.find((one) => certificate.covers(unbracketed(one)));
  // Where nobody else gets in, a name may lead to where nothing listens.
  const guess = isLoopback(name) ? undefined : certificate.names.find((one) => !isLoopback(one));
  const forOthers = proven(...names.map(withoutPort), ...(everywhere ? lan : [name])) ?? guess ?? outside;
  const ours = proven(here, 'localhost') ?? forOthers;
  return { here: `https://${bracketed(ours)}:${port}`, outside: `https://${bracketed(forOthers)}:${port}` };
}

/** By which other machines of the network may reach this one. */
function lanAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all.filter(({ family, internal }) => family === 'IPv4' && !internal).map(({ address }) => address);
}

/** Of "lab.example:7070" the name. */
export function withoutPort(host: string): string {
  return host.replace(/:\d+$/, '');
}

/** "All interfaces" is no address to connect to. */
export function isEverywhere(host: string): boolean {
  return ['0.0.0.0', '::'].includes(unbracketed(host));
}

/** Whether only this machine reaches it. */
export function isLoopback(host: string): boolean {
  const name = unbracketed(host).toLowerCase();
  return name === 'localhost' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'));
}

function unbracketed(host: string): string {
  return host.replace(/^\[|\]$/g, '');
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}
