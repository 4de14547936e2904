/** From where a request comes and by what name it reached us: by its own word or, behind a proxy, by that of the proxy. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';

export interface Forwarded {
  /** The address of the client as a proxy tells it, without a port; undefined where no proxy is trusted or it tells none. */
  forwardedFor(request: IncomingMessage): string | undefined;
  /** The address of whoever asks, without a port. */
  address(request: IncomingMessage): string;
  scheme(request: IncomingMessage): 'http' | 'https';
  /** "lab.example:7070", in lower case; empty when the request names none. */
  host(request: IncomingMessage): string;
}

/**
 * @param behindProxy whatever connects is a proxy of ours, and its headers hold. Otherwise they are anybody's claim, and mean nothing.
 */
export function createForwarded(behindProxy: boolean): Forwarded {
  const told = (request: IncomingMessage, header: string): string | undefined =>
    behindProxy ? lastOf(request.headers[header]) : undefined;
  const forwardedFor = (request: IncomingMessage): string | undefined => addressIn(told(request, 'x-forwarded-for'));
  return {
    forwardedFor,
    address: (request) => forwardedFor(request) ?? request.socket.remoteAddress ?? '',
    scheme(request) {
      const scheme = told(request, 'x-forwarded-proto')?.toLowerCase();
      if (scheme === 'https' || scheme === 'http') return scheme;
      return (request.socket as Partial<TLSSocket>).encrypted === true ? 'https' : 'http';
    },
    host: (request) => (told(request, 'x-forwarded-host') ?? request.headers.host ?? '').toLowerCase(),
  };
}

/** A proxy adds its entry at the end of what the client has sent, which may be anything. */
function lastOf(value: string | readonly string[] | undefined): string | undefined {
  const text = typeof value === 'string' ? value : value?.at(-1);
  return text?.split(',').at(-1)?.trim() || undefined;
}

/** Some proxies tell the port as well. */
function addressIn(text: string | undefined): string | undefined {
  const address = text?.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1');
  return address !== undefined && isIP(address) !== 0 ? address : undefined;
}
