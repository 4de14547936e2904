/** What the page's own address tells it. The token stands behind the #, so that browsers send it to no server and no log has it. */
import type { EngineKind } from '../messages.js';

export interface Invitation {
  /** Empty: the link is incomplete. */
  readonly token: string;
  /** The coordinator's control door, ws: or wss:. */
  readonly address: string;
  /** http: or https:, where /api/run is. */
  readonly origin: string;
  readonly only: EngineKind | undefined;
}

const ENGINES: readonly EngineKind[] = ['webgpu', 'wasm-threads', 'wasm'];

/** `.../join/#token=T`, and for tests and the curious `&engine=wasm`. The coordinator is where the page came from. */
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
