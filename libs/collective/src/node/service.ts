/** The star service of a Node process, with reducers in threads of their own. */
import { performance } from 'node:perf_hooks';
import type { IceAccess } from '@troupe/config';
import type { SendBudget } from '@troupe/protocol';
import type { Connection } from '@troupe/transport';
import { connectWebSocket } from '@troupe/transport/websocket';
import { createStarService, type ServiceNote, type StarService } from '../star/index.js';
import { iceServersFor } from './ice-servers.js';
import { newSecret } from './listening-service.js';
import { startReducers, type Reducers } from './reducers.js';

export interface NodeServiceOptions {
  /** The secret that coordinators must send. */
  readonly token: string;
  readonly log: (note: ServiceNote) => void;
  /** Receives what happens to the threads of reducers. */
  readonly logThreads: (note: ServiceNote) => void;
  /** Of the process: bounds what is queued for all links together. */
  readonly budget: SendBudget;
  /** Reducers to start, and how many sockets each may have open. */
  readonly reducers: number;
  readonly places: number;
  /** Where workers reach the service. Its reducers take the next ports of the same address, or any free ports if this one is 0. */
  readonly host: string;
  readonly port: number;
  /** For workers that exchange gradients over WebRTC; absent: none. */
  readonly ice?: IceAccess | undefined;
  /** Names the proxies to reducers on other machines, which coordinators name. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** See StarServiceOptions. */
  addressOf?(link: Connection): string;
  onAdmitted?(link: Connection): void;
  /** Gives up the start. */
  readonly signal: AbortSignal;
}

export interface NodeStarService {
  readonly service: StarService;
  /** The ports of its reducers. */
  readonly reducerPorts: readonly number[];
  /** Ends the reducers. Resolves when their threads have ended; never rejects. */
  close(): Promise<void>;
}

/** @throws TransportError `port_in_use`, `refused` or `invalid_address` when a reducer cannot listen; `aborted` */
export async function startStarService(options: NodeServiceOptions): Promise<NodeStarService> {
  const { token, log, budget, ice, addressOf, onAdmitted } = options;
  const reducers = await startReducers(options);
  const service = createStarService({
    token,
    secret: newSecret,
    log,
    budget,
    ...(addressOf && { addressOf }),
    ...(onAdmitted && { onAdmitted }),
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
    reducers: reducers.addresses,
    connect: connectorTo(reducers, options.env),
    ...(ice && { iceServers: (workerId: string) => iceServersFor(ice, workerId, Date.now()) }),
  });
  return { service, reducerPorts: reducers.ports, close: () => reducers.close() };
}

/** Its own reducers are on this machine, so no proxy is in between. */
function connectorTo({ addresses }: Reducers, env: NodeServiceOptions['env']) {
  const own = new Set(addresses.map(({ address }) => address));
  return (address: string, signal: AbortSignal): Promise<Connection> =>
    connectWebSocket(address, own.has(address) ? { signal } : { signal, env });
}
