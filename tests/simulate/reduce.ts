/** The all-reduce service on a machine of its own. */
import { createStarService } from '@troupe/collective/star';
import { REDUCE_TOKEN } from './coordinator.js';
import { createHost, type Host } from './host.js';
import type { World } from './world.js';

export interface SimulatedReduce {
  readonly host: Host;
  readonly running: boolean;
  /** Connections being served. */
  readonly served: number;
  boot(): void;
  crash(silently?: boolean): void;
}

export function createSimulatedReduce(world: World): SimulatedReduce {
  let host = createHost(world.clock, 'reduce', 9_000);
  let running = false;
  let served = 0;
  const never = new AbortController().signal;
  return {
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
      const mine = createHost(world.clock, 'reduce', 9_000);
      host = mine;
      running = true;
      served = 0;
      const service = createStarService({
        token: REDUCE_TOKEN,
        deadline: (ms) => mine.deadline(ms),
        log: (note) => world.trace('all-reduce', () => note.text),
      });
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
