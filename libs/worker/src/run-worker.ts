import { CollectiveError } from '@troupe/collective';
import { printable, ProtocolError } from '@troupe/protocol';
import { backoffMs, TransportError, type BackoffOptions } from '@troupe/transport';
import type { WorkerEnd, WorkerLog, WorkerOptions, WorkerPorts } from './ports.js';
import { runSession } from './session.js';

/** The jitter is wide, so that workers do not all return to a restarted coordinator at once. */
const BACKOFF: BackoffOptions = { firstMs: 500, longestMs: 30_000, jitter: [0.5, 1] };
/** After a session of this length the backoff starts again. */
const STABLE_MS = 60_000;

/**
 * Works for a coordinator until the run is over, or `signal` or `leave` aborts: joins, computes leases, applies updates, and joins again with
 * jittered exponential backoff whenever the link breaks.
 * @throws WorkerRefused when the coordinator refuses it for good (wrong token, other protocol version, run over)
 * @throws EngineError when no engine can compute this model
 * @throws TransportError `invalid_address` when the address, or that of a proxy, is none
 */
export async function runWorker(given: WorkerOptions): Promise<WorkerEnd> {
  const options = { ...given, ports: withPrintableLog(given.ports) };
  const { ports, signal, leave } = options;
  let attempt = 0;
  const credit = { characters: 0 };
  while (!signal.aborted && !leave?.aborted) {
    const startedMs = ports.nowMs();
    try {
      ports.log({ kind: 'connecting', address: options.address });
      const notice = await runSession(options, credit);
      if (notice === undefined) break;
      ports.log({ kind: 'stopped', ...notice });
      return 'stopped';
    } catch (error) {
      if (signal.aborted) break;
      if (!isPassing(error)) throw error;
      attempt = ports.nowMs() - startedMs > STABLE_MS ? 0 : attempt + 1;
      const retryInMs = Math.round(backoffMs(attempt, ports.random(), BACKOFF));
      ports.log({ kind: 'lost', reason: error.message, remedy: error.remedy, retryInMs });
      await ports.sleep(retryInMs, signal).catch((cause: unknown) => {
        if (!signal.aborted) throw cause;
      });
    }
  }
  ports.log({ kind: 'stopped', reason: signal.aborted ? 'asked to stop' : 'asked to pause' });
  return 'left';
}

/** Reasons are the coordinator's words: on a terminal or a page they must control nothing. */
function withPrintableLog(ports: WorkerPorts): WorkerPorts {
  const safe = (value: unknown): unknown => (typeof value === 'string' ? printable(value) : value);
  const log = (entry: WorkerLog): void =>
    ports.log(Object.fromEntries(Object.entries(entry).map(([name, value]) => [name, safe(value)])) as unknown as WorkerLog);
  return { ...ports, log };
}

/** Broken links, garbled bytes and an expired ticket may be gone at the next attempt; a person must mend everything else. */
function isPassing(error: unknown): error is TransportError | ProtocolError | CollectiveError {
  if (error instanceof TransportError && error.code === 'invalid_address') return false;
  return error instanceof TransportError || error instanceof ProtocolError || error instanceof CollectiveError;
}
