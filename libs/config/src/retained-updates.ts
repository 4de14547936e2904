import { LIMITS } from './limits.js';

/**
 * Updates that a worker retains while it waits for a snapshot of a model with `parameters`
 * parameters. The coordinator relies on this number: the worker cannot use an older snapshot.
 */
export function retainedUpdates(parameters: number): number {
  return Math.max(LIMITS.missedUpdates, Math.floor(LIMITS.missedUpdateBytes / (4 * parameters)));
}
