/** What a run trains and how. */
import type { Complete, CompleteKinds, Fields, Group, Kinds } from './field.js';
import { LIMITS } from './limits.js';
import { MODEL, type FullModelConfig } from './model.js';

/** How gradients travel: float16 with a power-of-two scale per tensor, or float32. */
export const GRADIENT_CODECS = ['fp16', 'fp32'] as const;
export type GradientCodec = (typeof GRADIENT_CODECS)[number];

const WEIGHT_DECAY = {
  type: 'real',
  min: 0,
  max: 1,
  default: 0,
  option: { flag: '--weight-decay', placeholder: 'X', group: 'Training', help: 'L2 penalty (decoupled for adamw)' },
} as const;

const SGD = {
  fields: {
    momentum: {
      type: 'real',
      min: 0,
      max: 0.9999,
      default: 0.9,
      option: { flag: '--momentum', placeholder: 'X', group: 'Training', help: 'sgd: momentum' },
    },
    weightDecay: WEIGHT_DECAY,
  },
} as const satisfies Group;

const ADAM = {
  fields: {
    beta1: {
      type: 'real',
      min: 0,
      max: 0.9999,
      default: 0.9,
      option: { flag: '--beta1', placeholder: 'X', group: 'Training', help: 'adam, adamw: decay of the first moment' },
    },
    beta2: {
      type: 'real',
      min: 0,
      max: 0.999999,
      default: 0.99,
      option: { flag: '--beta2', placeholder: 'X', group: 'Training', help: 'adam, adamw: decay of the second moment' },
    },
    epsilon: { type: 'real', min: 1e-12, max: 1, default: 1e-8 },
    weightDecay: WEIGHT_DECAY,
  },
} as const satisfies Group;

/** Adam (Kingma & Ba 2015, algorithm 1); `adamw` decouples weight decay (Loshchilov & Hutter 2019, algorithm 2). */
const OPTIMIZER = {
  type: 'kinds',
  kinds: { adam: ADAM, adamw: ADAM, sgd: SGD },
  default: 'adam',
  option: { flag: '--optimizer', group: 'Training', help: 'how an update becomes a step' },
} as const satisfies Kinds;

const SCHEDULE = {
  type: 'kinds',
  kinds: {
    /** Linear from 0 over `warmupRounds`, then half a cosine down to `finalFraction` of the peak at the last round. */
    cosine: {
      fields: {
        warmupRounds: {
          type: 'whole',
          min: 0,
          max: LIMITS.rounds,
          default: 20,
          option: { flag: '--warmup', placeholder: 'N', group: 'Training', help: 'cosine: rounds of linear warm-up' },
        },
        finalFraction: {
          type: 'real',
          min: 0,
          max: 1,
          default: 0.02,
          option: {
            flag: '--lr-final',
            placeholder: 'X',
            group: 'Training',
            help: 'cosine: last learning rate, as a fraction of the peak',
          },
        },
      },
    },
    constant: { fields: {} },
    /** Multiplied by `factor` every `everyRounds` rounds. */
    step: {
      fields: {
        everyRounds: {
          type: 'whole',
          min: 1,
          max: LIMITS.rounds,
          default: 500,
          option: { flag: '--lr-step', placeholder: 'N', group: 'Training', help: 'step: rounds between two decays' },
        },
        factor: {
          type: 'real',
          min: 0,
          max: 1,
          default: 0.5,
          option: { flag: '--lr-factor', placeholder: 'X', group: 'Training', help: 'step: factor of each decay' },
        },
      },
    },
  },
  default: 'cosine',
  option: { flag: '--schedule', group: 'Training', help: 'how the learning rate changes over the run' },
} as const satisfies Kinds;

const TRAINING_FIELDS = {
  model: MODEL,
  /** B, streams: the global batch, whichever workers compute it. */
  streams: {
    type: 'whole',
    min: 1,
    max: LIMITS.streams,
    default: 32,
    option: {
      flag: '--batch',
      placeholder: 'B',
      group: 'Data',
      help: 'streams: parallel tracks of the corpus, the global batch, whoever computes it',
    },
  },
  /**
   * 0: leases are cut by the workers' speeds. Otherwise the run is reproducible: a lease is always streams [k * leaseStreams,
   * (k+1) * leaseStreams) of one k, the last one fewer, so that every sum is formed in the same way whichever workers take part.
   */
  leaseStreams: {
    type: 'whole',
    min: 0,
    max: LIMITS.streams,
    default: 0,
    optional: true,
    option: {
      flag: '--lease-streams',
      placeholder: 'N',
      group: 'Reproducibility',
      help: 'streams of a lease in a reproducible run; part of what its result depends on (default: an eighth of the batch)',
    },
  },
  /** T, time steps of truncated back-propagation. */
  window: {
    type: 'whole',
    min: 1,
    max: LIMITS.window,
    default: 64,
    option: { flag: '--window', placeholder: 'T', group: 'Data', help: 'time steps of truncated back-propagation' },
  },
  rounds: {
    type: 'whole',
    min: 1,
    max: LIMITS.rounds,
    default: 1500,
    option: {
      flag: '--rounds',
      placeholder: 'N',
      group: 'Training',
      help: 'global steps; each takes one window of every stream',
    },
  },
  seed: {
    type: 'whole',
    min: 0,
    max: 0xffffffff,
    default: 1,
    option: { flag: '--seed', placeholder: 'S', group: 'Training', help: 'first parameters and samples follow from it' },
  },
  /** Peak learning rate. */
  learningRate: {
    type: 'real',
    min: 0,
    max: LIMITS.learningRate,
    default: 0.01,
    tunable: true,
    option: { flag: '--lr', placeholder: 'X', group: 'Training', help: 'peak learning rate (for sgd try 1)' },
  },
  /** The first value of an LSTM's forget-gate biases; other cells have none. */
  forgetBias: {
    type: 'real',
    min: 0,
    max: LIMITS.forgetBias,
    default: 1,
    optional: true,
    option: {
      flag: '--forget-bias',
      placeholder: 'X',
      group: 'Model',
      help: 'lstm: what the biases of its forget gates start from',
    },
  },
  /** The global norm of the mean gradient is clipped to this; 0 leaves it unclipped. */
  clip: {
    type: 'real',
    min: 0,
    max: LIMITS.clip,
    default: 5,
    tunable: true,
    option: {
      flag: '--clip',
      placeholder: 'X',
      group: 'Training',
      help: 'clip the global norm of the mean gradient to X; 0 = never',
    },
  },
  optimizer: OPTIMIZER,
  schedule: SCHEDULE,
  codec: {
    type: 'choice',
    choices: GRADIENT_CODECS,
    default: 'fp16',
    option: { flag: '--wire', group: 'Network', help: 'how gradients travel' },
  },
} as const satisfies Fields;

/** Leases of a reproducible run, unless said otherwise: enough of them for eight workers to share a round. */
const LEASES = 8;

export const TRAINING = {
  fields: TRAINING_FIELDS,
  rules: [
    {
      field: 'leaseStreams',
      problem: 'must be at most streams',
      holds: ({ leaseStreams, streams }: TrainingConfig) => leaseStreams <= streams,
    },
  ],
  derived: {
    leaseStreams: ({ streams }: TrainingConfig, isGiven) => (isGiven('--reproducible') ? Math.ceil(streams / LEASES) : 0),
  },
} as const satisfies Group;

export type OptimizerConfig = CompleteKinds<typeof OPTIMIZER>;
export type ScheduleConfig = CompleteKinds<typeof SCHEDULE>;

/** What a run trains and how; fixed for its life and the same for every replica. */
export interface TrainingConfig extends Complete<typeof TRAINING_FIELDS> {
  readonly model: FullModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly schedule: ScheduleConfig;
}
