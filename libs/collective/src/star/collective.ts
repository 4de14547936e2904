import type { Connection } from '@troupe/transport';
import type { Collective } from '../port.js';
import { hostStar } from './host.js';
import { joinStar } from './member.js';

export interface StarOptions {
  /** Opens a link to the service or reducer at `address`, or gives up within seconds. @throws TransportError */
  connect(address: string, signal: AbortSignal): Promise<Connection>;
  /** Whether workers may exchange ranges with reducers directly; else all goes through the service. Default: true. */
  readonly direct?: boolean;
}

/** The all-reduce through a StarService: each member and the host have one link to it, and members one to each of its reducers. */
export function createStarCollective({ connect, direct = true }: StarOptions): Collective {
  const reach = (service: string) => (address: string, signal: AbortSignal) => connect(addressFrom(service, address), signal);
  return {
    join: async (options) =>
      joinStar(await connect(options.address, options.signal), options, direct ? reach(options.address) : undefined),
    host: async (options) => hostStar(await connect(options.address, options.signal), options),
  };
}

/** ":7072" is a port of the machine at which `service` was reached. */
function addressFrom(service: string, address: string): string {
  if (!address.startsWith(':')) return address;
  const machine = /^\w+:\/\/(\[[^\]]*\]|[^:/]+)/.exec(service)?.[0] ?? service;
  return machine + address;
}
