/** The thread of a reducer, which reducers.ts starts: a service that listens until it is told to stop. */
import { setMaxListeners } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { TransportError } from '@troupe/transport';
import { serveConnections } from './accept.js';
import { listenGuarded } from './guarded-port.js';
import { createListeningService } from './listening-service.js';
import type { ReducerData, ReducerNews } from './reducers.js';

// Every link listens to the same signal: many listeners are not a leak.
setMaxListeners(0);

const { host, port, places, token } = workerData as ReducerData;
const parent = parentPort!;
const tell = (news: ReducerNews): void => parent.postMessage(news);
const stop = new AbortController();
parent.once('message', () => stop.abort(new Error('the service is stopping')));

async function serve(): Promise<void> {
  const { listener, doors } = await listenGuarded({ host, port, places });
  const service = createListeningService({ token, warn: (note) => tell({ kind: 'note', note }), ...doors });
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
