/** A small run, and fakes for its platform without a clock. */
import type { Checkpoint } from '@troupe/checkpoint';
import { modelConfig } from '@troupe/config';
import { createVocabulary, splitCorpus } from '@troupe/corpus';
import type { TrainingConfig } from '@troupe/protocol';
import type { ControlSession } from '../src/events.js';
import { createTraining, type Training } from '../src/training.js';

const TEXT = 'when forty winters shall besiege thy brow\n'.repeat(4);
const vocabulary = createVocabulary(TEXT);
const tokens = vocabulary.encode(TEXT);

export const CONFIG: TrainingConfig = {
  model: modelConfig({ cell: 'gru', hidden: 2, vocabulary: vocabulary.size }),
  streams: 3,
  window: 4,
  rounds: 6,
  seed: 7,
  learningRate: 0.5,
  forgetBias: 1,
  clip: 1,
  optimizer: { kind: 'sgd', momentum: 0.5, weightDecay: 0, nesterov: false },
  ema: 0,
  schedule: { kind: 'constant' },
  codec: 'fp32',
  localSteps: 1,
  tracks: 0,
  outerLearningRate: 0.7,
  outerMomentum: 0.9,
  changedRound: 0,
  changedWindow: 0,
  leaseStreams: 0,
};

export interface TrainingOptions {
  readonly config?: Partial<TrainingConfig>;
  readonly checkpoint?: Checkpoint;
  readonly evaluateEvery?: number;
}

export function smallTraining({ config = {}, checkpoint, evaluateEvery = 2 }: TrainingOptions = {}): Training {
  return createTraining({
    runId: 'run',
    config: { ...CONFIG, ...config },
    vocabulary,
    corpus: { name: 'winters', sha256: '0'.repeat(64), characters: tokens.length, trainFraction: 1 },
    split: { ...splitCorpus(tokens), train: tokens },
    checkpoint,
    evaluateEvery,
  });
}

/** A control link that does nothing and never closes. */
export const NO_SESSION: ControlSession = {
  pass: { countLease: () => undefined },
  channel: {
    bufferedBytes: 0,
    send: () => undefined,
    sendEncoded: () => undefined,
    drained: async () => undefined,
    close: () => undefined,
    closed: new Promise<never>(() => undefined),
  },
};

/** Resolves after all pending microtasks. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export interface Deadlines {
  /** The port of the conductor. */
  readonly start: (ms: number) => AbortSignal;
  /** Expires every deadline of `ms` that was started. */
  expire(ms: number): void;
}

/** Deadlines that expire when the test says so. */
export function createDeadlines(): Deadlines {
  const started: { readonly ms: number; readonly over: AbortController }[] = [];
  return {
    start(ms) {
      const over = new AbortController();
      started.push({ ms, over });
      return over.signal;
    },
    expire(ms) {
      for (const deadline of started) if (deadline.ms === ms) deadline.over.abort(new Error(`${ms} ms are over`));
    },
  };
}
