/** How much traffic taking part costs. */

export interface TrafficFacts {
  readonly parameters: number;
  /** Bytes per parameter in a round, up and down; see RunFacts. */
  readonly exchangedBytes: number;
  /** Undefined while unknown. */
  readonly roundsPerHour: number | undefined;
}

export interface TrafficEstimate {
  /** Per round: a gradient up, an update down. States and tokens add a few per cent. */
  readonly roundBytes: number;
  /** On joining: the parameters and, with Adam, two slots of optimizer state. */
  readonly joinBytes: number;
  readonly hourBytes: number | undefined;
}

const SLOTS_AND_PARAMETERS = 3;
const OVERHEAD = 1.05;

export function estimateTraffic({ parameters, exchangedBytes, roundsPerHour }: TrafficFacts): TrafficEstimate {
  const roundBytes = parameters * exchangedBytes * OVERHEAD;
  const hourBytes = roundsPerHour === undefined ? undefined : roundBytes * roundsPerHour;
  return { roundBytes, joinBytes: parameters * 4 * SLOTS_AND_PARAMETERS, hourBytes };
}
