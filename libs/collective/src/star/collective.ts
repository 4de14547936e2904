import { LIMITS, type MessageOf } from '@troupe/protocol';
import { backoffMs, type Connection } from '@troupe/transport';
import { CollectiveError, isLinkFailure } from '../errors.js';
import type { Collective, CollectiveMember, JoinOptions } from '../port.js';
import { STEADY_MS, WORKER_BACKOFF } from '../retries.js';
import { either } from './either.js';
import { hostStar } from './host.js';
import { joinStar } from './member.js';
import { reachOf, type ReachOptions } from './reach.js';
import type { StarService } from './service.js';

export interface StarOptions extends ReachOptions {
  /** With it, workers that join offer to sum ranges for the others. */
  readonly peer?: StarPeer;
}

/** How this process sums for others. */
export interface StarPeer {
  /** Where workers reach it; see the message `offer`. */
  readonly addresses: readonly string[];
  /** Serves their links, and no others. */
  readonly service: Pick<StarService, 'offer' | 'keep'>;
  /** Opens a link to it within this process. */
  connect(): Connection;
  /** It can no longer sum: a bug, or no memory. */
  onFailed(error: unknown): void;
}

/** The all-reduce through a StarService: each member and the host have one link to it, and members one to each of its reducers. */
export function createStarCollective(star: StarOptions): Collective {
  const { connect, peer } = star;
  return {
    async join(options): Promise<CollectiveMember> {
      const parts = { reach: reachOf(star, options), ...(peer && { keep: peer.service.keep.bind(peer.service) }) };
      const member = await joinStar(await connect(options.address, options.signal), options, parts);
      if (peer) keepOffering(peer, options, connect, member.closed).catch(peer.onFailed);
      return member;
    },
    host: async (options) => hostStar(await connect(options.address, options.signal), options),
  };
}

/** Until the worker has left. Rejects with what no new link mends; without it, this worker sums for nobody. */
async function keepOffering(
  { addresses, service }: StarPeer,
  { runId, workerId, ticket, deadline, address: to }: JoinOptions,
  connect: StarOptions['connect'],
  closed: Promise<unknown>,
): Promise<void> {
  const left = new AbortController();
  void closed.then(() => left.abort(new Error('the worker has left')));
  const offer: Omit<MessageOf<'offer'>, 'type' | 'versions'> = { runId, workerId, ticket, addresses: [...addresses] };
  for (let failures = 1; !left.signal.aborted && deadline; failures++) {
    const steady = deadline(STEADY_MS);
    const soon = either(left.signal, deadline(LIMITS.reducerMs));
    try {
      const connection = await connect(to, soon.signal);
      await service.offer(connection, offer, left.signal);
    } catch (error) {
      if (!isLinkFailure(error) && !(error instanceof CollectiveError)) throw error;
    } finally {
      soon.dispose();
    }
    if (steady.aborted) failures = 0;
    await either(left.signal, deadline(backoffMs(failures, 0, WORKER_BACKOFF))).ended;
  }
}
