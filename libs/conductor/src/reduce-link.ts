/**
 * The coordinator's link to the all-reduce service. It survives the loss of the service: it
 * reconnects.
 */
import { CollectiveError, type CollectiveHost } from '@troupe/collective';
import { LIMITS, ProtocolError } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import type { ConductorPorts } from './ports.js';
import type { ReduceEvent, ReduceLinkEvent } from './events.js';

const RETRY_MS = 1_000;
/** A coordinator whose machine is gone keeps the service for the time of silence that ends its link. */
const TAKEN_TRIES = Math.ceil((LIMITS.silenceMs + LIMITS.closeMs) / RETRY_MS);

/** Receives what the service says, and what happens to the link. */
export type ReduceListener = (event: ReduceEvent | ReduceLinkEvent) => void;

/**
 * While the service is lost, orders for the round are dropped: the scheduler opens the round again
 * when it is back.
 */
export interface ReduceLink extends Pick<
  CollectiveHost,
  'admit' | 'dismiss' | 'subscribe' | 'usePeers' | 'openRound' | 'grant' | 'rule' | 'close'
> {
  /**
   * Resolves when the run is over. A ProtocolError or TransportError that `listener` throws counts
   * as a loss of the link.
   * @throws what reconnecting cannot repair, such as CollectiveError `not_finite`
   */
  listen(listener: ReduceListener): Promise<void>;
}

export interface Starting {
  /** Ends the wait for a service that another coordinator has. */
  readonly signal: AbortSignal;
  /** The wait begins. */
  onTaken(reason: string): void;
}

/**
 * @throws TransportError, CollectiveError when the service cannot be reached at the start, refuses,
 * or stays with another coordinator
 */
export async function openReduceLink(
  connect: () => Promise<CollectiveHost>,
  over: AbortSignal,
  { sleep }: Pick<ConductorPorts, 'sleep'>,
  starting: Starting,
): Promise<ReduceLink> {
  let host = await connectFirst();

  const ifOpen = (order: () => void): void => {
    try {
      order();
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
    }
  };
  return {
    // This one throws while the service is lost: the worker's session then ends, and the worker
    // tries again.
    admit: (workerId, ticket) => host.admit(workerId, ticket),
    dismiss: (workerId, reason) => ifOpen(() => host.dismiss(workerId, reason)),
    subscribe: (workerId, wanted) => ifOpen(() => host.subscribe(workerId, wanted)),
    usePeers: (choice) => ifOpen(() => host.usePeers(choice)),
    openRound: (order) => ifOpen(() => host.openRound(order)),
    grant: (grant) => ifOpen(() => host.grant(grant)),
    rule: (rule) => ifOpen(() => host.rule(rule)),
    close: (reason) => host.close(reason),
    async listen(listener) {
      while (!over.aborted) {
        try {
          for (;;) listener(await host.receive(over));
        } catch (error) {
          if (over.aborted) return;
          if (!isLoss(error)) throw error;
          host.close(error.message);
          listener({ type: 'reduceLost', reason: error.message });
        }
        await reconnect(listener);
        if (!over.aborted) listener({ type: 'reduceRestored' });
      }
    },
  };

  async function connectFirst(): Promise<CollectiveHost> {
    for (let tries = 1; ; tries++) {
      try {
        return await connect();
      } catch (error) {
        if (!isTaken(error) || tries === TAKEN_TRIES) throw error;
        if (tries === 1) starting.onTaken(error.message);
        await sleep(RETRY_MS, starting.signal);
      }
    }
  }

  async function reconnect(listener: ReduceListener): Promise<void> {
    let reported = '';
    while (!over.aborted) {
      try {
        host = await connect();
        if (over.aborted) host.close('the run is over');
        return;
      } catch (error) {
        // The service may refuse because it has not noticed yet that the old link is gone.
        if (!isLoss(error) && !over.aborted) throw error;
        if (error instanceof CollectiveError && error.message !== reported) {
          reported = error.message;
          listener({ type: 'reduceRefused', reason: error.message, remedy: error.remedy });
        }
        await sleep(RETRY_MS, over).catch((cause: unknown) => {
          if (!over.aborted) throw cause;
        });
      }
    }
  }
}

/**
 * Whether a new link may help: this one broke, or carried unreadable data. It does not help with
 * an update that must not be applied.
 */
function isLoss(error: unknown): error is Error {
  if (error instanceof TransportError || error instanceof ProtocolError) return true;
  return isTaken(error) || (error instanceof CollectiveError && error.code === 'refused');
}

function isTaken(error: unknown): error is CollectiveError {
  return error instanceof CollectiveError && error.code === 'taken';
}
