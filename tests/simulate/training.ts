/** A training so small that thousands of rounds take seconds, and its expected result. */
import { createHash } from 'node:crypto';
import { modelConfig } from '@troupe/config';
import { createStreams, createVocabulary, splitCorpus, type CorpusSplit, type Vocabulary } from '@troupe/corpus';
import { createLayout, initialParameters, stateSize } from '@troupe/model';
import { createReferenceEngine } from '@troupe/model/reference';
import { clipScale, createReplica, learningRateAt } from '@troupe/optim';
import { roundOptimizer, type TrainingConfig } from '@troupe/protocol';

const TEXT = 'when forty winters shall besiege thy brow and dig deep trenches in thy beauty s field '.repeat(20);

export const vocabulary = createVocabulary(TEXT);
const tokens = vocabulary.encode(TEXT);
export const split = { ...splitCorpus(tokens), train: tokens };
const corpus = { name: 'winters', sha256: '0'.repeat(64), characters: tokens.length, trainFraction: 0.9 };

/** What a run trains on. */
export interface Text {
  readonly vocabulary: Vocabulary;
  readonly corpus: typeof corpus;
  readonly split: CorpusSplit;
}

export const WINTERS: Text = { vocabulary, corpus, split };

export function sha256(bytes: Uint8Array | readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const block of bytes instanceof Uint8Array ? [bytes] : bytes) hash.update(block);
  return hash.digest('hex');
}

const BASE: TrainingConfig = {
  model: modelConfig({ layers: 2, hidden: 4, dropout: 0.2, dropoutOutput: 0.3, vocabulary: vocabulary.size }),
  streams: 7,
  window: 6,
  rounds: 60,
  seed: 7,
  learningRate: 0.1,
  forgetBias: 1,
  clip: 0.5,
  optimizer: { kind: 'sgd', momentum: 0.5, weightDecay: 0, nesterov: false },
  ema: 0,
  schedule: { kind: 'cosine', warmupRounds: 3, finalFraction: 0.1, decayRounds: 0 },
  codec: 'fp32',
  leaseStreams: 0,
  localSteps: 1,
  tracks: 0,
  outerLearningRate: 0.7,
  outerMomentum: 0.9,
  changedRound: 0,
  changedWindow: 0,
};

/** The size of leases follows speed, so rounding differs from run to run. */
export const BY_SPEED: TrainingConfig = BASE;

/** Contains everything that could round differently; every bit must still be the same. */
export const REPRODUCIBLE: TrainingConfig = {
  ...BASE,
  leaseStreams: 2,
  learningRate: 0.02,
  optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
  ema: 0.9,
  codec: 'fp16',
};

/** Tracks that step by themselves, and wrap within a round. */
export const LOCAL: TrainingConfig = {
  ...BASE,
  streams: 6,
  localSteps: 3,
  tracks: 3,
};

/** The same, to the bit. */
export const REPRODUCIBLE_LOCAL: TrainingConfig = {
  ...LOCAL,
  leaseStreams: 2,
  optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.01 },
  learningRate: 0.01,
  ema: 0.9,
  codec: 'int8',
};

/**
 * The same training without a cluster.
 * @returns [rounds + 1] parameters [P], by rounds completed
 */
export async function trainAlone(config: TrainingConfig): Promise<readonly Float32Array[]> {
  return config.localSteps > 1 ? trainTracksAlone(config) : trainExactlyAlone(config);
}

async function trainTracksAlone(config: TrainingConfig): Promise<readonly Float32Array[]> {
  const { window, tracks, localSteps, rounds, model, seed, clip } = config;
  const size = config.streams / tracks;
  const layout = createLayout(model);
  const streams = createStreams(tokens, config);
  const outer = createReplica({ size: layout.size, optimizer: roundOptimizer(config) });
  outer.setParameters(initialParameters(model, layout, seed, config.forgetBias));
  const engine = createReferenceEngine(model, { maxStreams: size, maxWindow: window });
  const states = Array.from({ length: tracks }, () => new Float32Array(size * stateSize(model)));
  const trajectory = [outer.parameters.slice()];
  for (let round = 0; round < rounds; round++) {
    const mean = new Float64Array(layout.size);
    for (let track = 0; track < tracks; track++) {
      const inner = createReplica({ size: layout.size, optimizer: config.optimizer });
      inner.setParameters(outer.parameters);
      const ids = Array.from({ length: size }, (_, i) => track * size + i);
      for (let step = 0; step < localSteps; step++) {
        const index = round * localSteps + step;
        if (index % streams.windowsPerPass === 0) states[track].fill(0);
        engine.setParameters(inner.parameters);
        const { gradient, endStates } = await engine.gradient({
          streams: size,
          window,
          tokens: Uint16Array.from(ids.flatMap((stream) => [...streams.streamWindow(stream, index)])),
          states: states[track],
          dropout: { seed, round: index, streams: Uint32Array.from(ids) },
        });
        states[track] = endStates.slice();
        const gradients = Float64Array.from(gradient, (value) => value / (size * window));
        const scale = clipScale(Math.hypot(...gradients), clip);
        const rate = learningRateAt(config.schedule, config.learningRate, round, rounds);
        inner.step(
          Float32Array.from(gradients, (value) => value * scale),
          rate,
        );
      }
      for (let i = 0; i < mean.length; i++) mean[i] += (outer.parameters[i] - inner.parameters[i]) / tracks;
    }
    outer.step(Float32Array.from(mean), config.outerLearningRate);
    trajectory.push(outer.parameters.slice());
  }
  return trajectory;
}

async function trainExactlyAlone(config: TrainingConfig): Promise<readonly Float32Array[]> {
  const { streams: count, window } = config;
  const layout = createLayout(config.model);
  const streams = createStreams(tokens, config);
  const replica = createReplica({ size: layout.size, optimizer: config.optimizer });
  replica.setParameters(initialParameters(config.model, layout, config.seed, config.forgetBias));
  const engine = createReferenceEngine(config.model, { maxStreams: count, maxWindow: window });
  let states = new Float32Array(count * stateSize(config.model));
  const everyStream = Uint32Array.from({ length: count }, (_, stream) => stream);
  const trajectory = [replica.parameters.slice()];
  for (let round = 0; round < config.rounds; round++) {
    if (round % streams.windowsPerPass === 0) states.fill(0);
    const windows = Array.from({ length: count }, (_, stream) => [...streams.streamWindow(stream, round)]);
    engine.setParameters(replica.parameters);
    const batch = {
      streams: count,
      window,
      tokens: Uint16Array.from(windows.flat()),
      states,
      dropout: { seed: config.seed, round, streams: everyStream },
    };
    const { gradient, tokens: characters, endStates } = await engine.gradient(batch);
    const mean = Float64Array.from(gradient, (value) => value / characters);
    const scale = clipScale(Math.hypot(...mean), config.clip);
    const update = Float32Array.from(mean, (value) => value * scale);
    replica.step(update, learningRateAt(config.schedule, config.learningRate, round, config.rounds));
    states = endStates.slice();
    trajectory.push(replica.parameters.slice());
  }
  return trajectory;
}
