/** A worker that sums for the others, on any platform. */
import { createSendBudget } from '@troupe/protocol';
import { createMemoryPair } from '@troupe/transport/memory';
import type { StarPeer } from './collective.js';
import type { ServiceNote } from './links.js';
import { createStarService, type StarService, type StarServiceOptions } from './service.js';

export interface SummingServiceOptions extends Pick<
  StarServiceOptions,
  'token' | 'secret' | 'deadline' | 'nowMs' | 'rtc' | 'addressOf' | 'onAdmitted'
> {
  /** Receives what is wrong with a link; which links come and go is no news. */
  readonly warn: (note: ServiceNote) => void;
}

/** A star service that only sums: others decide. It has a send budget of its own. */
export function createSummingService({ warn, ...options }: SummingServiceOptions): StarService {
  return createStarService({
    ...options,
    log: (note) => (note.level === 'warn' ? warn(note) : undefined),
    budget: createSendBudget({ onEvicted: ({ text, remedy }) => warn({ level: 'warn', text, remedy }) }),
  });
}

export interface PeerOptions extends Pick<StarPeer, 'addresses'> {
  readonly service: StarService;
  readonly warn: (note: ServiceNote) => void;
  /** Ends what this worker sums. */
  readonly signal: AbortSignal;
}

/** The worker sums with `service`, to which it has a link within its process. */
export function createPeer({ addresses, service, warn, signal }: PeerOptions): StarPeer {
  return {
    addresses,
    service,
    connect() {
      const [near, far] = createMemoryPair(['this worker', 'its own part']);
      void service.serve(far, signal, { isExpected: true });
      return near;
    },
    onFailed: (error) => warn({ level: 'warn', text: `this worker no longer sums for others: ${(error as Error).message}` }),
  };
}
