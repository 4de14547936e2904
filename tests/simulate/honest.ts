/**
 * Honest volunteers with different engines, and the audits of their leases. Engines of this machine compute a small real training, which
 * gives differences that are real; engines of other machines differ more, so each lease's difference is enlarged at random, up to the largest
 * that was ever measured. Comparison and trust policy are the production code; links and rounds are not simulated.
 */
import { differenceOf, claimOf, type AuditShape, type Recomputed } from '@troupe/collective';
import { openEngine } from '@troupe/engines/node';
import { createLayout, initialParameters, stateSize, type Batch, type Engine, type ModelConfig } from '@troupe/model';
import { modelConfig } from '@troupe/config';
import { createStreams } from '@troupe/corpus';
import { createReplica } from '@troupe/optim';
import { GRADIENT_CODECS } from '@troupe/protocol';
import {
  createNorms,
  createRunState,
  FAR_BEYOND,
  largestExpected,
  noteNorm,
  step,
  type RunEffect,
  type RunInput,
} from '@troupe/scheduler';
import { createRandom, type Random } from './random.js';
import { split, vocabulary } from './training.js';

export interface HonestOptions {
  readonly seed: number;
  readonly leases: number;
  /** Between engines, as a part of the gradient's norm. Default: that of WebGPU and TensorFlow.js on graphics cards. */
  readonly largestDifference?: number;
  print(line: string): void;
}

const ENGINES = ['reference', 'native', 'wasm'] as const;
/** That of the coordinator. */
const AUDITOR = 'native';
const LARGEST_DIFFERENCE = 2e-4;
const [STREAMS, WINDOW] = [8, 16];
/** Rounds of training, after which leases are taken. */
const STAGES: ReadonlySet<number> = new Set([0, 20, 100]);
const MODELS: readonly ModelConfig[] = (['lstm', 'gru', 'rnn-relu'] as const).map((cell) =>
  modelConfig({ cell, layers: 2, hidden: 24, dropout: 0.1, vocabulary: vocabulary.size }),
);
const VOLUNTEERS = 40;
/** First stream and number of streams of the leases of each round of the training. */
const LEASES = [
  [0, 1],
  [1, 2],
  [3, STREAMS - 3],
] as const;

/** A lease, computed by an engine and by the auditor. */
interface Sample {
  readonly engine: string;
  readonly shape: Omit<AuditShape, 'codec'>;
  readonly streams: readonly number[];
  readonly round: number;
  readonly own: Recomputed;
  readonly audited: Recomputed;
  /** Of the gradients, as a part of the norm. */
  readonly difference: number;
}

/** @returns how many leases were found to differ, and workers banned */
export async function playHonest({
  seed,
  leases,
  largestDifference = LARGEST_DIFFERENCE,
  print,
}: HonestOptions): Promise<number> {
  const random = createRandom(seed);
  const trainings = await Promise.all(MODELS.map((model) => trainingOf(model)));
  const samples = trainings.flatMap((training) => training.samples);
  for (const engine of new Set(samples.map((sample) => sample.engine))) {
    const most = Math.max(...samples.filter((sample) => sample.engine === engine).map(({ difference }) => difference));
    print(`${engine}: differs from ${AUDITOR} by at most ${most.toExponential(1)} of the norm`);
  }
  for (const [i, { largest, beyond }] of trainings.entries())
    print(
      `${MODELS[i].cell}: a norm is at most ${largest.toFixed(1)} times the median of those before; ${beyond} are beyond ${FAR_BEYOND} times`,
    );
  const { audits, bans, found } = playRounds(leases, random, () => compare(samples, random, largestDifference));
  print(
    `${leases} leases, each compared with its own computation again: ${found} differ; ${audits} of them audited, ${bans} workers banned`,
  );
  return found + bans;
}

interface Training {
  /** Some of its leases. */
  readonly samples: readonly Sample[];
  /** Norm of a contribution per character, as a multiple of the median of those before; how many would be audited because of it. */
  readonly largest: number;
  readonly beyond: number;
}

/** One that really takes place. */
async function trainingOf(model: ModelConfig): Promise<Training> {
  const layout = createLayout(model);
  const stateFloats = stateSize(model);
  const shape = { tensorSizes: layout.tensors.map(({ size }) => size), stateFloats, seed: 7 };
  const streams = createStreams(split.train, { streams: STREAMS, window: WINDOW });
  const limits = { maxStreams: STREAMS, maxWindow: WINDOW };
  const engines = await Promise.all(ENGINES.map((name) => openEngine(name, model, limits)));
  const auditor = engines[ENGINES.indexOf(AUDITOR)];
  const replica = createReplica({
    size: layout.size,
    optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  });
  replica.setParameters(initialParameters(model, layout, 7, 1));
  let states = new Float32Array(STREAMS * stateFloats);
  const samples: Sample[] = [];
  const norms = createNorms();
  let [largest, beyond] = [0, 0];
  for (let round = 0; round <= Math.max(...STAGES); round++) {
    const batch = (first: number, count: number): Batch => ({
      streams: count,
      window: WINDOW,
      tokens: Uint16Array.from(Array.from({ length: count }, (_, i) => [...streams.streamWindow(first + i, round)]).flat()),
      states: states.slice(first * stateFloats, (first + count) * stateFloats),
      dropout: { seed: 7, round, streams: Uint32Array.from({ length: count }, (_, i) => first + i) },
    });
    if (STAGES.has(round)) {
      for (const [first, count] of [
        [0, 1],
        [2, 3],
        [0, STREAMS],
      ]) {
        const audited = await compute(auditor, replica.parameters, batch(first, count));
        for (const [i, engine] of engines.entries()) {
          const own = await compute(engine, replica.parameters, batch(first, count));
          const difference = normOf(own.gradient.map((value, k) => value - audited.gradient[k])) / normOf(audited.gradient);
          const lease = { round, streams: Array.from({ length: count }, (_, k) => first + k) };
          samples.push({ engine: ENGINES[i], shape, ...lease, own, audited, difference });
        }
      }
    }
    const gradient = new Float32Array(layout.size);
    const endStates = new Float32Array(states.length);
    for (const [first, count] of LEASES) {
      const lease = await compute(auditor, replica.parameters, batch(first, count));
      lease.gradient.forEach((value, i) => (gradient[i] += value));
      endStates.set(lease.endStates, first * stateFloats);
      const norm = normOf(lease.gradient) / (count * WINDOW);
      const ratio = (norm / largestExpected(norms)) * FAR_BEYOND;
      [largest, beyond] = [Math.max(largest, ratio), beyond + Number(ratio > FAR_BEYOND)];
      noteNorm(norms, norm);
    }
    const scale = Math.min(1 / (STREAMS * WINDOW), 1 / normOf(gradient));
    replica.step(
      gradient.map((value) => value * scale),
      0.01,
    );
    states = endStates;
  }
  for (const engine of engines) engine.dispose();
  return { samples, largest, beyond };
}

async function compute(engine: Engine, parameters: Float32Array, batch: Batch): Promise<Recomputed> {
  engine.setParameters(parameters);
  const { gradient, endStates, lossSum } = await engine.gradient(batch);
  return { gradient: gradient.slice(), endStates: endStates.slice(), lossSum };
}

function normOf(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}

/** What a volunteer with some engine sends for some lease, audited. @returns how it differs */
function compare(samples: readonly Sample[], random: Random, largest: number): string | undefined {
  const { shape, streams, round, own, audited, difference } = random.pick(samples);
  const codec = random.pick(GRADIENT_CODECS);
  const most = difference > 0 ? Math.max(1, largest / difference) : 1;
  const factor = most ** random.next();
  const enlarged = (theirs: Float32Array, ours: Float32Array): Float32Array =>
    ours.map((value, i) => value + factor * (theirs[i] - value));
  const sent = {
    gradient: enlarged(own.gradient, audited.gradient),
    endStates: enlarged(own.endStates, audited.endStates),
    lossSum: audited.lossSum + factor * (own.lossSum - audited.lossSum),
  };
  return differenceOf({ ...shape, codec }, claimOf({ ...shape, codec }, { round, streams }, sent), audited, false);
}

type LeaseEffect = Extract<RunEffect, { type: 'lease' }>;

/** Rounds in which every volunteer is honest. Each lease is compared, whether the policy audits it or not. */
function playRounds(
  leases: number,
  random: Random,
  compareOne: () => string | undefined,
): { audits: number; bans: number; found: number } {
  const settings = {
    ...{ streams: VOLUNTEERS * 2, window: WINDOW, rounds: Infinity, windowsPerPass: 1_000, leaseStreams: 0 },
    ...{ evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0, chanceLoss: 3, maxLoss: 3 },
  };
  const state = createRunState({ ...settings, audits: { seed: [random.pick([1, 2, 3, 4]), 5] } }, 0);
  const totals = { audits: 0, bans: 0, found: 0, computed: 0 };
  const due: LeaseEffect[] = [];
  let nowMs = 0;
  const feed = (input: RunInput): void => {
    for (const effect of step(state, input, (nowMs += 1))) {
      if (effect.type === 'lease') due.push(effect);
      if (effect.type === 'ban') totals.bans++;
    }
  };
  feed({ type: 'start' });
  for (let i = 0; i < VOLUNTEERS; i++)
    feed({ type: 'workerReady', workerId: `v${i}`, name: `v${i}`, trusted: false, charsPerSecond: 1_000 });
  while (totals.computed < leases) {
    const { round } = state;
    for (let lease = due.shift(); lease; lease = due.shift()) {
      if (lease.round !== round || totals.computed >= leases) continue;
      totals.computed++;
      const reason = compareOne();
      if (reason !== undefined) totals.found++;
      if (lease.audit !== 'none') totals.audits++;
      const { workerId, leaseId, streams } = lease;
      const verdict = reason === undefined ? 'sound' : 'wrong';
      if (lease.audit !== 'none') feed({ type: 'audited', round, workerId, leaseId, verdict, reason: reason ?? '' });
      if (streams.some((stream) => state.units[stream].counted)) continue;
      feed({ type: 'counted', workerId, leaseId, round, streams, lossSum: streams.length * 30, computeMs: 5, serviceMs: 0 });
    }
    if (state.units.every(({ counted }) => counted)) feed({ type: 'updated', round, trainLoss: 2 });
    else feed({ type: 'tick' });
  }
  return totals;
}
