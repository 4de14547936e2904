import type { IceServer } from '../webrtc/index.js';
import type { NativeIceServer } from './native.js';

/** RFC 7064 and 7065. */
const URL_FORM = /^(stuns?|turns?):(\[[\da-f:.]+\]|[^:?[\]/@\s]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?$/i;
const DEFAULT_PORT = 3478;
const DEFAULT_TLS_PORT = 5349;

/**
 * Servers as the library takes them. It knows STUN and TURN over UDP alone; other entries, which browsers use, are left out.
 * @throws Error for an address that is not one, or a TURN server without credentials
 */
export function nativeServers(servers: readonly IceServer[]): NativeIceServer[] {
  return servers.flatMap((server) => [server.urls].flat().flatMap((url) => nativeServer(url, server)));
}

/** The parts of a URL of RFC 7064 and 7065. */
export interface IceUrlParts {
  /** "stun", "stuns", "turn" or "turns". */
  readonly scheme: string;
  readonly host: string;
  readonly port: number;
  readonly transport: 'udp' | 'tcp' | undefined;
}

/** @throws Error for a URL that is not one */
export function readIceUrl(url: string): IceUrlParts {
  const [, scheme = '', host, given, transport] = URL_FORM.exec(url) ?? [];
  const isSecure = /s$/i.test(scheme);
  const port = Number(given ?? (isSecure ? DEFAULT_TLS_PORT : DEFAULT_PORT));
  if (host === undefined || port > 65_535) throw new Error(`"${url}" is not the address of a STUN or TURN server`);
  return {
    scheme: scheme.toLowerCase(),
    host: host.replace(/^\[|\]$/g, ''),
    port,
    transport: transport?.toLowerCase() as IceUrlParts['transport'],
  };
}

function nativeServer(url: string, { username, credential }: IceServer): NativeIceServer[] {
  const { scheme, host, port, transport = 'udp' } = readIceUrl(url);
  const address = { hostname: host, port };
  if (scheme === 'stun') return [address];
  if (scheme !== 'turn' || transport !== 'udp') return [];
  if (username === undefined || credential === undefined)
    throw new Error(`the TURN server "${url}" needs a user name and a credential`);
  return [{ ...address, username, password: credential, relayType: 'TurnUdp' }];
}
