/** The coordinator's hold on the all-reduce service, which lives through the loss of the service. */
import { CollectiveError, type CollectiveHost } from '@troupe/collective';
import { ProtocolError } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';
import type { ConductorPorts } from './ports.js';
import type { ReduceEvent } from './events.js';

const RETRY_MS = 1_000;

export interface ReduceListener {
  onEvent(event: ReduceEvent): void;
  onLost(reason: string): void;
  /** The service answers, and says no; said once for each reason. */
  onRefused(reason: string, remedy: string): void;
  /** The service is back and knows nothing of the round. */
  onRestored(): void;
}

/** While the service is lost, orders for the round are dropped: they are given anew when it is back. */
export interface ReduceLink extends Pick<CollectiveHost, 'admit' | 'dismiss' | 'openRound' | 'grant' | 'close'> {
  /** Until the run is over. @throws what no reconnecting mends: a service that turns this coordinator away */
  listen(listener: ReduceListener): Promise<void>;
}

/** @throws TransportError, CollectiveError when the service cannot be reached at the start */
export async function openReduceLink(
  connect: () => Promise<CollectiveHost>,
  over: AbortSignal,
  { sleep }: Pick<ConductorPorts, 'sleep'>,
): Promise<ReduceLink> {
  let host = await connect();

  const ifOpen = (order: () => void): void => {
    try {
      order();
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
    }
  };
  return {
    // A worker that cannot be admitted is told so, and tries again.
    admit: (workerId, ticket) => host.admit(workerId, ticket),
    dismiss: (workerId, reason) => ifOpen(() => host.dismiss(workerId, reason)),
    openRound: (order) => ifOpen(() => host.openRound(order)),
    grant: (grant) => ifOpen(() => host.grant(grant)),
    close: (reason) => host.close(reason),
    async listen(listener) {
      while (!over.aborted) {
        try {
          for (;;) listener.onEvent(await host.receive(over));
        } catch (error) {
          if (over.aborted) return;
          if (!isLoss(error)) throw error;
          host.close(error.message);
          listener.onLost(error.message);
        }
        await reconnect(listener);
        if (!over.aborted) listener.onRestored();
      }
    },
  };

  async function reconnect(listener: ReduceListener): Promise<void> {
    let said = '';
    while (!over.aborted) {
      try {
        host = await connect();
        if (over.aborted) host.close('the run is over');
        return;
      } catch (error) {
        // The service's side of the old link may not have noticed yet that it is gone.
        if (!isLoss(error) && !over.aborted) throw error;
        if (error instanceof CollectiveError && error.message !== said) listener.onRefused((said = error.message), error.remedy);
        await sleep(RETRY_MS, over).catch((cause: unknown) => {
          if (!over.aborted) throw cause;
        });
      }
    }
  }
}

/** The link broke, or carried what cannot be read: a fresh one may be sound. An update that must not be applied is no such thing. */
function isLoss(error: unknown): error is Error {
  if (error instanceof TransportError || error instanceof ProtocolError) return true;
  return error instanceof CollectiveError && error.code === 'refused';
}
