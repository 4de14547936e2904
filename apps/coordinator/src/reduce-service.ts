/** The all-reduce of one run: a service in this process, or services that run elsewhere. */
import { randomBytes } from 'node:crypto';
import type { Collective } from '@troupe/collective';
import { startStarService } from '@troupe/collective/node';
import { createStarCollective, type ServiceNote } from '@troupe/collective/star';
import type { SendBudget } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { Report } from './reporter.js';
import type { Traffic } from './server/traffic.js';
import type { Settings } from './settings.js';

export interface ReduceService {
  /** Its address for workers. A path means the server of the coordinator. */
  readonly address: string;
  /** Addresses of services that sum a range of the parameters each for it. Those in threads of this process are not among them. */
  readonly reducers: readonly string[];
  /** The secret of its host. */
  readonly token: string;
  /** Reaches the service from the coordinator. */
  readonly collective: Pick<Collective, 'host'>;
  /** Serves the link of a worker until it ends. Never rejects. Undefined if workers connect elsewhere. */
  readonly serve: ((link: Connection) => Promise<void>) | undefined;
  /** Ends its threads. Call it when the run is over; resolves when they have ended. */
  close(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Its path on the server. */
  readonly path: string;
  /** How many reducers to start, and beside which port. */
  readonly settings: Pick<Settings, 'reducers' | 'host' | 'port' | 'ice'>;
  readonly env: NodeJS.ProcessEnv;
  /** How many sockets each reducer may have open. */
  readonly reducerPlaces: number;
  /** Whose links count together, and who has been admitted. */
  readonly mount: { readonly traffic: Pick<Traffic, 'keyOf' | 'admit'> };
  /** Of the process. */
  readonly budget: SendBudget;
  /** Receives what the reducers do. */
  readonly report: Report;
  /** Receives warnings about links of workers and reducers. */
  readonly troubles: Report;
  /** Gives up the start. */
  readonly signal: AbortSignal;
  /** Aborts when the run is over. */
  readonly over: AbortSignal;
}

/**
 * A service for one run, which ends with the run. The coordinator reaches it over a memory link and workers over WebSockets. Both
 * carry the same frames as for a service in a separate process.
 * @throws TransportError when a reducer cannot listen
 */
export async function embedReduceService(options: EmbeddedOptions): Promise<ReduceService> {
  const { path, report, troubles, over, env, budget, signal } = options;
  const { traffic } = options.mount;
  const { reducers, host, port, ice } = options.settings;
  const token = randomBytes(24).toString('base64url');
  const log = (note: ServiceNote): void => {
    if (note.level === 'warn') troubles({ event: 'note', ...note });
  };
  const logThreads = (note: ServiceNote): void => report({ event: 'note', ...note });
  const { service, reducerPorts, close } = await startStarService({
    token,
    log,
    logThreads,
    budget,
    places: options.reducerPlaces,
    addressOf: (link) => traffic.keyOf(link) ?? 'this machine',
    onAdmitted: (link) => traffic.admit(link),
    reducers,
    host,
    port,
    ice,
    env,
    signal,
  });
  if (reducerPorts.length > 0) report({ event: 'note', level: 'info', text: describeReducers(reducerPorts) });
  const serve = (link: Connection): Promise<void> => service.serve(link, over);
  const connect = async (): Promise<Connection> => {
    const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
    void serve(outside);
    return inside;
  };
  return { address: path, reducers: [], token, collective: createStarCollective({ connect }), serve, close };
}

function describeReducers(ports: readonly number[]): string {
  const [subject, which] = ports.length === 1 ? ['1 reducer sums', 'port'] : [`${ports.length} reducers sum`, 'ports'];
  return `${subject} the gradients. Workers connect to ${which} ${ports.join(', ')} too, if they can.`;
}

/** @param addresses "ws://10.0.0.2:7071", first the service that decides */
export function remoteReduceService([address, ...reducers]: readonly string[], token: string): ReduceService {
  const collective = createStarCollective({ connect: (to, signal) => connectWebSocket(to, { signal, env: process.env }) });
  return { address, reducers, token, collective, serve: undefined, close: async () => undefined };
}
