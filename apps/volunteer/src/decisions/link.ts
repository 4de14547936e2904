/** Reads the page's address. The token is in the fragment: browsers do not send it, so no server log contains it. */
import type { EngineKind } from '../messages.js';

export interface Invitation {
  /** Empty when the link is incomplete. */
  readonly token: string;
  /** Of the coordinator's control link, ws: or wss:. */
  readonly address: string;
  /** http: or https:, where /api/run is. */
  readonly origin: string;
  /** The only engine to use; undefined: the fastest. */
  readonly only: EngineKind | undefined;
}

const ENGINES: readonly EngineKind[] = ['webgpu', 'wasm-threads', 'wasm'];

/** `.../join/#token=T`, with `&engine=wasm` for tests and experiments. The page comes from the coordinator. */
export function readInvitation({ protocol, host, hash }: { protocol: string; host: string; hash: string }): Invitation {
  const given = new Map(
    hash
      .replace(/^#/, '')
      .split('&')
      .map((pair): [string, string] => {
        const at = pair.indexOf('=');
        return at < 0 ? [pair, ''] : [pair.slice(0, at), decode(pair.slice(at + 1))];
      }),
  );
  const secure = protocol === 'https:';
  return {
    token: given.get('token') ?? '',
    address: `${secure ? 'wss' : 'ws'}://${host}/control`,
    origin: `${protocol}//${host}`,
    only: ENGINES.find((engine) => engine === given.get('engine')),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
