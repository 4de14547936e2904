/** Reads the page's address. The token is in the fragment: browsers do not send it, so no server log contains it. */
import type { EngineKind } from '../messages.js';

export interface Invitation {
  /** Empty when the link is incomplete. */
  readonly token: string;
  /** Of the coordinator's control link, ws: or wss:. */
  readonly address: string;
  /** The coordinator's http: or https: address without a slash at the end: "https://lab.example/troupe". */
  readonly base: string;
  /** The only engine to use; undefined: the fastest. */
  readonly only: EngineKind | undefined;
}

const ENGINES: readonly EngineKind[] = ['webgpu', 'wasm-threads', 'wasm'];

/**
 * `.../join/#token=T`, with `&engine=wasm` for tests and experiments. The page comes from the coordinator, which a proxy may serve
 * under a path.
 */
export function readInvitation(href: string): Invitation {
  const { protocol, host, pathname, hash } = new URL(href);
  const given = new Map(
    hash
      .replace(/^#/, '')
      .split('&')
      .map((pair): [string, string] => {
        const at = pair.indexOf('=');
        return at < 0 ? [pair, ''] : [pair.slice(0, at), decode(pair.slice(at + 1))];
      }),
  );
  const coordinator = host + pathname.replace(/(\/join)?\/[^/]*$/, '');
  return {
    token: given.get('token') ?? '',
    address: `${protocol === 'https:' ? 'wss' : 'ws'}://${coordinator}/control`,
    base: `${protocol}//${coordinator}`,
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
