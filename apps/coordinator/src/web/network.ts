/** What a machine needs to find out whether it could join. */
import { iceServersFor } from '@troupe/collective/node';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import type { IceServerView, NetworkView } from '@troupe/run';
import type { ReduceService } from '../reduce-service.js';
import type { Settings } from '../settings.js';

/** In the log of the TURN server: `troupe doctor` asks, and not a worker. */
const USER = 'doctor';

/** @param nowMs Unix time, ms */
export function createNetworkView(
  { topology, ice }: Pick<Settings, 'topology' | 'ice'>,
  { address, serve }: Pick<ReduceService, 'address' | 'serve'>,
  nowMs: () => number,
): () => NetworkView {
  const iceServers = (): readonly IceServerView[] => (ice === undefined ? [] : iceServersFor(ice, USER, nowMs()));
  // A service that runs elsewhere has servers of its own.
  const isElsewhere = serve === undefined;
  return () => ({
    protocolVersion: PROTOCOL_VERSION,
    topology,
    reduceAddress: address,
    ...(isElsewhere ? {} : { iceServers: iceServers() }),
  });
}
