/** The all-reduce of one run: a service in this process, or one that runs elsewhere. */
import { randomBytes } from 'node:crypto';
import type { Collective } from '@troupe/collective';
import { createStarCollective, createStarService } from '@troupe/collective/star';
import type { SendBudget } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { createMemoryPair } from '@troupe/transport/memory';
import { connectWebSocket } from '@troupe/transport/websocket';
import type { Report } from './reporter.js';

export interface ReduceService {
  /** Its address for workers. A path means the server of the coordinator. */
  readonly address: string;
  /** The secret of its host. */
  readonly token: string;
  /** Reaches the service from the coordinator. */
  readonly collective: Pick<Collective, 'host'>;
  /** Serves the link of a worker until it ends. Never rejects. Undefined if workers connect elsewhere. */
  readonly serve: ((link: Connection) => Promise<void>) | undefined;
}

/**
 * A service for one run, which ends with the run. The coordinator reaches it over a memory link and workers over WebSockets. Both
 * carry the same frames as for a service in a separate process.
 * @param path its path on the server
 * @param over aborts when the run is over
 * @param troubles receives warnings about links of workers
 * @param budget of the process
 */
export function embedReduceService(path: string, over: AbortSignal, troubles: Report, budget: SendBudget): ReduceService {
  const token = randomBytes(24).toString('base64url');
  const service = createStarService({
    token,
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
    budget,
    log: ({ level, text }) => {
      if (level === 'warn') troubles({ event: 'note', level, text });
    },
  });
  const serve = (link: Connection): Promise<void> => service.serve(link, over);
  const connect = async (): Promise<Connection> => {
    const [inside, outside] = createMemoryPair(['coordinator', 'all-reduce']);
    void serve(outside);
    return inside;
  };
  return { address: path, token, collective: createStarCollective({ connect }), serve };
}

/** @param address "ws://10.0.0.2:7071" */
export function remoteReduceService(address: string, token: string): ReduceService {
  const collective = createStarCollective({ connect: (to, signal) => connectWebSocket(to, { signal, env: process.env }) });
  return { address, token, collective, serve: undefined };
}
