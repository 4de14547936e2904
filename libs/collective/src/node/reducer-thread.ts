/** The thread of a reducer, which reducers.ts starts: a service that listens until it is told to stop. */
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { performance } from 'node:perf_hooks';
import { parentPort, workerData } from 'node:worker_threads';
import { createSendBudget, LIMITS } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import { listenWebSocket } from '@troupe/transport/websocket';
import { createStarService, type ServiceNote } from '../star/index.js';
import { serveConnections } from './accept.js';
import type { ReducerData, ReducerNews } from './reducers.js';

// Every link listens to the same signal: many listeners are not a leak.
setMaxListeners(0);

const { host, port, token } = workerData as ReducerData;
const parent = parentPort!;
const tell = (news: ReducerNews): void => parent.postMessage(news);
const stop = new AbortController();
parent.once('message', () => stop.abort(new Error('the service is stopping')));

/** The service reports which links come and go; only what is wrong with one is news here. */
function log(note: ServiceNote): void {
  if (note.level === 'warn') tell({ kind: 'note', note });
}

async function serve(): Promise<void> {
  const listener = await listenWebSocket({ host, port, frameBytes: LIMITS.frameBytes });
  const service = createStarService({
    token,
    secret: () => randomBytes(24).toString('base64url'),
    log,
    budget: createSendBudget({ onEvicted: ({ text, remedy }) => log({ level: 'warn', text, remedy }) }),
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
  });
  tell({ kind: 'listening', address: listener.address });
  try {
    await serveConnections(listener, service, stop.signal);
  } finally {
    await listener.close('the reducer is stopping');
  }
}

try {
  await serve();
} catch (error) {
  if (!(error instanceof TransportError)) throw error;
  const { code, message, remedy } = error;
  tell({ kind: 'failed', code, message, remedy });
} finally {
  parent.close();
}
