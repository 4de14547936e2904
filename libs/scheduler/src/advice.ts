/**
 * Whether local rounds would keep the workers of an exact run busy. What a lease takes besides computing is known from the leases so far,
 * and does not grow with the steps that a track takes.
 */
import { CODED_BYTES, LIMITS, type GradientCodec } from '@troupe/protocol';
import { dealQuotas, roundMs, type Capacity, type Load } from './dealing.js';

/** Steps that are considered: with more of them, each window counts for less. */
const STEPS = [8, 16, 32, 64, 128];
/** With fewer steps than reach this, workers still wait for a good part of the time. */
const BUSY = 0.85;
/** Local rounds cost some loss: they are worth it for workers that compute for a smaller part of the time than this, then for a larger one, */
export const IDLE = 0.5;
/** and this many times as much. */
const WORTH_CHANGING = 2;
/** With a shorter transfer, it is not the link that a lease waits for, ms. */
const LEAST_TRANSFER_MS = 50;
/** Of local rounds, which have few messages, each of many steps. */
const LOCAL_CODEC: GradientCodec = 'int8-both';
/** At most this many tracks for a worker. */
const MOST_TRACKS = 4;

/** Parts of the time in which workers compute, the mean over them by their speeds. */
export interface LocalAdvice {
  readonly utilisation: number;
  /** With so many steps, in so many tracks. */
  readonly localUtilisation: number;
  readonly localSteps: number;
  readonly tracks: number;
}

/** The exact rounds of a run, and what changes in local ones. */
export interface RoundShape {
  /** B. */
  readonly streams: number;
  /** T. */
  readonly window: number;
  /** Of the all-reduce service for a contribution, ms. */
  readonly serviceMs: number;
  /** Of the exact rounds. */
  readonly codec: GradientCodec;
  readonly windowsPerPass: number;
}

/**
 * The fewest steps and tracks with which workers compute for most of the time, or else the best.
 * @param workers of measured speed
 * @returns undefined if it is not worth it
 */
export function adviseLocalRounds(workers: readonly Capacity[], shape: RoundShape): LocalAdvice | undefined {
  const exact = { units: shape.streams, unitCharacters: shape.window, serviceMs: shape.serviceMs };
  const utilisation = utilisationOf(workers, exact);
  const meanMs = workers.reduce((sum, { transferMs }) => sum + transferMs, 0) / workers.length;
  if (!(utilisation < IDLE && meanMs >= LEAST_TRANSFER_MS)) return undefined;
  // Lines of people have less bandwidth up than down.
  const transferShare = CODED_BYTES[LOCAL_CODEC].up / CODED_BYTES[shape.codec].up;
  const local = workers.map((worker) => ({ ...worker, transferMs: worker.transferMs * transferShare }));
  let best: LocalAdvice | undefined;
  for (const { steps: localSteps, tracks } of choices(workers.length, shape)) {
    const unitCharacters = (shape.streams / tracks) * shape.window * localSteps;
    const localUtilisation = utilisationOf(local, { units: tracks, unitCharacters, serviceMs: shape.serviceMs });
    if (localUtilisation > (best?.localUtilisation ?? 0)) best = { utilisation, localUtilisation, localSteps, tracks };
    if (localUtilisation >= BUSY) break;
  }
  return best && best.localUtilisation >= Math.max(IDLE, WORTH_CHANGING * utilisation) ? best : undefined;
}

/** Those with few steps first, and among them those with few tracks: each of them is sent. */
function choices(
  workers: number,
  { streams, windowsPerPass }: RoundShape,
): { readonly steps: number; readonly tracks: number }[] {
  const steps = STEPS.filter((count) => count <= Math.min(windowsPerPass, LIMITS.localSteps));
  const most = Math.min(streams, MOST_TRACKS * workers);
  const counts = Array.from({ length: Math.max(0, most - workers + 1) }, (_, i) => workers + i);
  const tracks = counts.filter((count) => count > 1 && streams % count === 0);
  return steps.flatMap((step) => tracks.map((count) => ({ steps: step, tracks: count })));
}

/** Part of a round in which its workers compute, the mean over all of them by their speeds. */
function utilisationOf(workers: readonly Capacity[], load: Load): number {
  const charsPerSecond = workers.reduce((sum, worker) => sum + worker.charsPerSecond, 0);
  const busyMs = (load.units * load.unitCharacters * 1_000) / charsPerSecond;
  return busyMs / roundMs(workers, dealQuotas(workers, load), load);
}
