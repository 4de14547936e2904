/** How much a worker exchanges, from the settings of its run. */
import { isLocal } from '@troupe/config';

/** Sizes that are not known are 0. */
export interface Exchange {
  /** Bytes per parameter of a contribution, and of an update. */
  readonly upBytes: number;
  readonly downBytes: number;
  /** B. */
  readonly streams: number;
  /** T, and the windows of a stream in a round: more than 1 in a run with local steps. */
  readonly window: number;
  readonly localSteps: number;
  /** Contributions of all workers to a round; undefined: each worker sends one. */
  readonly leases: number | undefined;
  /** Of the hidden state of a stream. */
  readonly stateFloats: number;
  /** Values that the optimizer of the rounds keeps for a parameter. */
  readonly optimizerSlots: number;
}

export interface RoundTraffic {
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** Heads of chunks, of which one comes with every 32 KiB, and exponents of codecs. */
const OVERHEAD = 1.005;
/** Messages of a round besides the numbers: lease, answer and the heads of updates; head of a contribution. */
const MESSAGES: RoundTraffic = { sentBytes: 250, receivedBytes: 600 };

/**
 * Of one of so many workers that share a round. Up: gradients with their end states. Down: an update, and the characters of the leases,
 * which in a local round come with the learning rates of the steps.
 * @param parameters P
 */
export function roundTraffic(parameters: number, exchange: Exchange, workers: number): RoundTraffic {
  const { upBytes, downBytes, streams, window, localSteps, leases = workers, stateFloats } = exchange;
  const contributions = Math.max(1, leases / workers);
  const ownStreams = streams / workers;
  const tokenBytes = ownStreams * localSteps * (window + 1) * 2;
  const rateBytes = isLocal(exchange) ? contributions * localSteps * 4 : 0;
  return {
    sentBytes:
      OVERHEAD * (contributions * parameters * upBytes + ownStreams * stateFloats * 4) + contributions * MESSAGES.sentBytes,
    receivedBytes: OVERHEAD * (parameters * downBytes + tokenBytes + rateBytes) + MESSAGES.receivedBytes * contributions,
  };
}

/** What a worker receives when it joins: the parameters, and what the optimizer keeps for them, in float32. */
export function joinBytes(parameters: number, { optimizerSlots }: Pick<Exchange, 'optimizerSlots'>): number {
  return parameters * 4 * (1 + optimizerSlots);
}

/** Values that optimizers keep for a parameter. */
const SLOTS: ReadonlyMap<unknown, number> = new Map([
  ['adam', 2],
  ['adamw', 2],
  ['sgd', 1],
]);

/** The step of a local round is one of SGD, whatever the tracks take. @param optimizer its kind; an unknown one counts as Adam */
export function optimizerSlotsOf(optimizer: unknown, localSteps: number): number {
  return SLOTS.get(isLocal({ localSteps }) ? 'sgd' : optimizer) ?? SLOTS.get('adam')!;
}
