import type { Listener } from '@troupe/transport';
import type { StarService } from '../star/index.js';

/**
 * Serves every connection of a listener. Returns when `signal` aborts and every connection has ended.
 * @throws TransportError when the listener fails
 */
export async function serveConnections(listener: Listener, service: StarService, signal: AbortSignal): Promise<void> {
  const serving = new Set<Promise<void>>();
  try {
    for (;;) {
      const connection = await listener.accept(signal);
      const served = service.serve(connection, signal).finally(() => serving.delete(served));
      serving.add(served);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    await Promise.all(serving);
  }
}
