/** A small run with leases and contributions, to test any implementation of the all-reduce. */
import type { CodedVector } from '@troupe/optim';
import { expect } from 'vitest';
import {
  wholeUpdate,
  type CollectiveHost,
  type CollectiveMember,
  type Contribution,
  type GradientShape,
  type ReduceUpdate,
} from '../src/index.js';
import { floats } from './coded.js';

export const SEED = 9;
export const SHAPE: GradientShape = { codec: 'fp16', tensorSizes: [300, 41], stateFloats: 4 };
export const SIZE = 341;
export const RUN = { runId: 'run-1', owner: 'first', streams: 6, window: 8, ...SHAPE };
export const DIGEST = 'fedcba9876543210';
export const ORDER = { round: 0, learningRate: 0.1, clip: 0, parametersDigest: DIGEST };
/** Streams of lease k; worker wk computes them. */
export const LEASES = [[0, 1], [2, 3, 4], [5]];

/** Long enough for everything that should happen; a test that waits longer fails. */
export const soon = () => AbortSignal.timeout(5_000);

export function contribution(k: number, changes: Partial<Contribution> = {}): Contribution {
  const streams = LEASES[k];
  return {
    leaseId: `lease${k}`,
    round: 0,
    streams,
    tokens: streams.length * RUN.window,
    lossSum: streams.length * 10,
    computeMs: 3,
    parametersDigest: DIGEST,
    gradient: Float32Array.from({ length: SIZE }, (_, i) => Math.round(Math.sin(i + k) * 1000) / 1024),
    endStates: Float32Array.from({ length: streams.length * 4 }, (_, i) => k + i / 8),
    ...changes,
  };
}

/** Opens a round and grants all its leases. */
export function openRound(host: CollectiveHost, changes: object = {}): void {
  host.openRound({ ...ORDER, ...changes });
  LEASES.forEach((streams, k) => host.grant({ round: 0, leaseId: `lease${k}`, workerId: `w${k}`, streams, ...changes }));
}

export async function untilUpdate(side: CollectiveMember | CollectiveHost): Promise<ReduceUpdate> {
  for (;;) {
    const event = await side.receive(soon());
    if (event.kind === 'update') return 'parts' in event ? event : wholeUpdate(event);
  }
}

/** Independent of the code under test: plain sums of plain numbers, each of them exact in a half. */
function expectedMean(i: number): number {
  return LEASES.reduce((total, _, k) => total + contribution(k).gradient[i], 0) / (RUN.streams * RUN.window);
}

export function expectMean(coded: CodedVector): void {
  const update = floats(coded);
  const largest = Math.max(...Array.from(update, Math.abs));
  for (let i = 0; i < SIZE; i++) expect(Math.abs(update[i] - expectedMean(i))).toBeLessThan(largest * 2 ** -11);
}
