import type { Connection } from '@troupe/transport';
import type { Collective } from '../port.js';
import { hostStar } from './host.js';
import { joinStar } from './member.js';

export interface StarOptions {
  /** Opens a link to the service at `address`, or gives up within seconds. @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
}

/** The all-reduce through a StarService: each member and the host have one link to it. */
export function createStarCollective({ connect }: StarOptions): Collective {
  return {
    join: async (options) => joinStar(await connect(options.address, options.signal), options),
    host: async (options) => hostStar(await connect(options.address, options.signal), options),
  };
}
