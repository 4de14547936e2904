/** The client, scheme and host name of a request: its own or, behind a proxy, those that the proxy reports. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';

export interface Forwarded {
  /** The client's address as a proxy reports it, without a port. Undefined if no proxy is trusted or it reports none. */
  forwardedFor(request: IncomingMessage): string | undefined;
  /** The client's address, without a port. */
  address(request: IncomingMessage): string;
  scheme(request: IncomingMessage): 'http' | 'https';
  /** "lab.example:7070", in lower case. Empty if the request names no host. */
  host(request: IncomingMessage): string;
}

/**
 * @param hops number of trusted proxies in a row, through which all connections come. 0: the headers come from clients, and are ignored
 */
export function createForwarded(hops: number): Forwarded {
  const reported = (request: IncomingMessage, header: string): string | undefined =>
    hops > 0 ? entryOf(request.headers[header], hops) : undefined;
  const forwardedFor = (request: IncomingMessage): string | undefined => addressIn(reported(request, 'x-forwarded-for'));
  return {
    forwardedFor,
    address: (request) => forwardedFor(request) ?? request.socket.remoteAddress ?? '',
    scheme(request) {
      const scheme = reported(request, 'x-forwarded-proto')?.toLowerCase();
      if (scheme === 'https' || scheme === 'http') return scheme;
      return (request.socket as Partial<TLSSocket>).encrypted === true ? 'https' : 'http';
    },
    host: (request) => (reported(request, 'x-forwarded-host') ?? request.headers.host ?? '').toLowerCase(),
  };
}

/**
 * The entry of the outermost proxy. Each proxy appends its entry to what it received, or replaces it; so there may be fewer entries
 * than proxies. Earlier entries are claims of the client.
 */
function entryOf(value: string | readonly string[] | undefined, hops: number): string | undefined {
  const entries = [value ?? []].flat().join(',').split(',');
  return (entries.at(-hops) ?? entries[0]).trim() || undefined;
}

/** Some proxies report the port as well. */
function addressIn(text: string | undefined): string | undefined {
  const address = text?.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  return address !== undefined && isIP(address) !== 0 ? address : undefined;
}
