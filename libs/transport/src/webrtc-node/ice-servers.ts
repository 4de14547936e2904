import type { IceServer } from '../webrtc/index.js';
import type { NativeIceServer } from './native.js';

/** RFC 7064 and 7065. */
const URL_FORM = /^(stuns?|turns?):(\[[\da-f:.]+\]|[^:?[\]/@\s]+)(?::(\d{1,5}))?(?:\?transport=(udp|tcp))?$/i;
const DEFAULT_PORT = 3478;

/**
 * Servers as the library takes them. It knows STUN and TURN over UDP alone; other entries, which browsers use, are left out.
 * @throws Error for an address that is not one, or a TURN server without credentials
 */
export function nativeServers(servers: readonly IceServer[]): NativeIceServer[] {
  return servers.flatMap((server) => [server.urls].flat().flatMap((url) => nativeServer(url, server)));
}

function nativeServer(url: string, { username, credential }: IceServer): NativeIceServer[] {
  const [, scheme, host, port = DEFAULT_PORT, transport = 'udp'] = URL_FORM.exec(url) ?? [];
  if (host === undefined || Number(port) > 65_535) throw new Error(`"${url}" is not the address of a STUN or TURN server`);
  const address = { hostname: host.replace(/^\[|\]$/g, ''), port: Number(port) };
  if (scheme.toLowerCase() === 'stun') return [address];
  if (scheme.toLowerCase() !== 'turn' || transport.toLowerCase() !== 'udp') return [];
  if (username === undefined || credential === undefined)
    throw new Error(`the TURN server "${url}" needs a user name and a credential`);
  return [{ ...address, username, password: credential, relayType: 'TurnUdp' }];
}
