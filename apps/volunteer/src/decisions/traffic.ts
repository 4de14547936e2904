/** What taking part costs in traffic. */

export interface TrafficFacts {
  readonly parameters: number;
  /** Of a gradient's element on the wire: 2 (fp16) or 4 (fp32). */
  readonly elementBytes: number;
  /** Undefined while it is not known. */
  readonly roundsPerHour: number | undefined;
}

export interface TrafficEstimate {
  /** One round: a gradient there, an update back. States and tokens are a few per cent of it. */
  readonly roundBytes: number;
  /** At the start: parameters and, with Adam, two slots of the optimizer's state. */
  readonly joinBytes: number;
  readonly hourBytes: number | undefined;
}

const SLOTS_AND_PARAMETERS = 3;
const OVERHEAD = 1.05;

export function estimateTraffic({ parameters, elementBytes, roundsPerHour }: TrafficFacts): TrafficEstimate {
  const roundBytes = 2 * parameters * elementBytes * OVERHEAD;
  const hourBytes = roundsPerHour === undefined ? undefined : roundBytes * roundsPerHour;
  return { roundBytes, joinBytes: parameters * 4 * SLOTS_AND_PARAMETERS, hourBytes };
}
