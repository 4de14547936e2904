/**
 * A worker's machine: the real worker loop in a process that can be frozen, killed and restarted.
 */
import { createStarCollective, createStarService, type StarOptions, type StarPeer } from '@troupe/collective/star';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import type { RtcLinks } from '@troupe/transport/webrtc';
import { createRateLimit, runWorker, type WorkerLog, type WorkerPorts } from '@troupe/worker';
import { createSimulatedEngine, type Lie, type Machine } from './engine.js';
import { createHost, type Host } from './host.js';
import { serviceOptions } from './reduce.js';
import { simulatedRtc } from './rtc.js';
import { sha256 } from './training.js';
import type { World } from './world.js';

/** A supervisor restarts a worker that ended with an error. */
const RESTART_MS = 3_000;
/** Of the workers that reach the reducers, and sum for others if they may; the others only reach the service. */
const DIRECT_SHARE = 0.7;

export interface SimulatedWorker {
  readonly name: string;
  readonly machine: Machine;
  readonly host: Host;
  readonly logs: readonly WorkerLog[];
  readonly running: boolean;
  /** How its last process ended. */
  readonly ended: unknown;
  boot(): void;
  /** `silently`: the whole machine is gone, so that nothing tells its peers. */
  crash(silently?: boolean): void;
  /** Asks it to stop, as Ctrl-C does. */
  stop(): void;
}

/** Where others reach a worker that sums: by addresses, over WebRTC, or either way. The seed chooses. */
function addressesOf({ random }: World, { name }: Host): readonly string[] {
  const [address, rtc] = [`sim://${name}/peer`, 'rtc:'];
  return [[address], [rtc], [address, rtc]][Math.floor(random.fork(`addresses of ${name}`).next() * 3)];
}

/** As the worker's process does it. */
function openPeer(world: World, host: Host, rtc: RtcLinks): StarPeer {
  const service = createStarService({ ...serviceOptions(world, host), token: world.ticket(), rtc });
  const never = new AbortController().signal;
  const fail = (error: unknown): void => world.audit.violate(`${host.name} cannot sum for others: ${String(error)}`);
  const serve = (link: Connection): Promise<void> => service.serve(link, never).catch(fail);
  world.network.listen(host, '/peer', serve);
  return {
    addresses: addressesOf(world, host),
    service,
    connect() {
      const [near, far] = createMemoryPair([host.name, `${host.name} itself`]);
      void serve(far);
      return near;
    },
    onFailed: fail,
  };
}

export interface WorkerOptions {
  readonly name: string;
  readonly charsPerSecond: number;
  /** Whether it reaches the reducers; absent: chosen by the seed. */
  readonly direct?: boolean | undefined;
  /** Whether it joins with the token of volunteers. */
  readonly isVolunteer?: boolean;
  readonly lie?: Lie | undefined;
  /** Its limit in each direction, Mbit/s; absent: none. */
  readonly rateMbit?: number | undefined;
}

export function createSimulatedWorker(
  world: World,
  { name, charsPerSecond, direct, isVolunteer = false, lie, rateMbit }: WorkerOptions,
): SimulatedWorker {
  const machine: Machine = { charsPerSecond, slowness: 1, deviceLosses: 0, poison: 0, poisonedAfter: -1, lie };
  const random = world.random.fork(name);
  const reaches = direct ?? world.random.fork(`links of ${name}`).next() < DIRECT_SHARE;
  const logs: WorkerLog[] = [];
  let host = createHost(world.clock, name, random.between(0, 1e7));
  let asked = new AbortController();
  let running = false;
  let ended: unknown;

  const dialFrom = (mine: Host): WorkerPorts['connect'] => {
    const rate = createRateLimit({ nowMs: () => mine.nowMs(), sleep: (ms, signal) => mine.sleep(ms, signal) }, rateMbit);
    return async (address, signal) => {
      const link = await world.network.dial(mine, address, signal);
      return rateMbit === undefined ? link : rate.limit(link);
    };
  };
  const summing = (mine: Host): Pick<StarOptions, 'rtc' | 'peer'> => {
    const rtc = simulatedRtc(world, mine);
    return { rtc, peer: openPeer(world, mine, rtc) };
  };
  const ports = (mine: Host, connect = dialFrom(mine)): WorkerPorts => ({
    connect,
    collective: createStarCollective({ connect, direct: reaches, ...(world.peers && reaches && summing(mine)) }),
    createEngine: async (config, limits) => createSimulatedEngine(world.createEngine(config, limits), mine, machine),
    nowMs: () => mine.nowMs(),
    sleep: (ms, signal) => mine.sleep(ms, signal),
    random: () => random.next(),
    sha256: async (bytes) => Buffer.from(sha256(bytes), 'hex'),
    log(entry) {
      logs.push(entry);
      world.trace(name, () => JSON.stringify(entry));
    },
  });
  const over = (mine: Host, how: unknown): void => {
    if (mine !== host) return;
    running = false;
    ended = how;
    world.trace(name, () => `ended: ${String(how)}`);
    world.network.kill(mine, false);
    if (how instanceof Error) world.onWorkerFailed(name, how);
    if (how instanceof Error && !asked.signal.aborted) world.clock.after(RESTART_MS, `${name}: restart`, boot);
  };
  function boot(): void {
    if (running || asked.signal.aborted) return;
    const mine = createHost(world.clock, name, host.nowMs() - world.clock.nowMs);
    host = mine;
    running = true;
    ended = undefined;
    const options = {
      address: 'sim://coordinator/control',
      token: isVolunteer ? world.volunteerToken : world.token,
      name,
      kind: 'node',
      ports: ports(mine),
    } as const;
    runWorker({ ...options, signal: asked.signal }).then(
      () => over(mine, 'done'),
      (error: unknown) => over(mine, error),
    );
  }
  return {
    name,
    machine,
    logs,
    get host() {
      return host;
    },
    get running() {
      return running;
    },
    get ended() {
      return ended;
    },
    boot,
    crash(silently = false) {
      if (!running) return;
      running = false;
      world.network.kill(host, silently);
      // The next process has a signal of its own.
      asked = new AbortController();
    },
    stop() {
      host.thaw();
      asked.abort(new Error('asked to stop'));
    },
  };
}
