/** The star service of a thread or process that only listens: it sums, and decides nothing. */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { createSummingService, type StarService, type SummingServiceOptions } from '../star/index.js';

/** An unguessable text in letters, digits, - and _. */
export function newSecret(): string {
  return randomBytes(24).toString('base64url');
}

/** The summing service of this thread or process. */
export function createListeningService(
  options: Pick<SummingServiceOptions, 'token' | 'warn' | 'rtc' | 'addressOf' | 'onAdmitted'>,
): StarService {
  return createSummingService({
    ...options,
    secret: newSecret,
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
  });
}
