/** An all-reduce service on a machine of its own: the one that decides what counts, or a reducer. */
import { createStarService, type StarServiceOptions } from '@troupe/collective/star';
import { createHost, type Host } from './host.js';
import type { World } from './world.js';

export const REDUCE_TOKEN = 'secret of the all-reduce';

export interface SimulatedReduce {
  readonly name: string;
  readonly host: Host;
  readonly running: boolean;
  /** Connections being served. */
  readonly served: number;
  boot(): void;
  crash(silently?: boolean): void;
}

/** @param name of its machine, on which it listens at "/reduce" */
export function createSimulatedReduce(world: World, name: string): SimulatedReduce {
  let host = createHost(world.clock, name, 9_000);
  let running = false;
  let served = 0;
  const never = new AbortController().signal;
  return {
    name,
    get host() {
      return host;
    },
    get running() {
      return running;
    },
    get served() {
      return served;
    },
    boot() {
      if (running) return;
      const mine = createHost(world.clock, name, 9_000);
      host = mine;
      running = true;
      served = 0;
      const service = createStarService(serviceOptions(world, mine));
      world.network.listen(mine, '/reduce', async (link) => {
        served++;
        await service.serve(link, never).catch((error: unknown) => world.audit.violate(`the service rejects: ${String(error)}`));
        if (mine === host) served--;
      });
    },
    crash(silently = false) {
      if (!running) return;
      running = false;
      world.network.kill(host, silently);
    },
  };
}

/** Of a service in the process `host`, which uses the reducers that the coordinator names. */
export function serviceOptions(world: World, host: Host): StarServiceOptions {
  return {
    token: REDUCE_TOKEN,
    secret: world.ticket,
    deadline: (ms) => host.deadline(ms),
    connect: (address, signal) => world.network.dial(host, address, signal),
    log: (note) => world.trace(host.name === 'coordinator' ? 'all-reduce' : host.name, () => note.text),
  };
}

/** The address of a machine's service. */
export function reduceAddress(name: string): string {
  return `sim://${name}/reduce`;
}
