/** What a run trains and how. */
import type { Complete, CompleteKinds, Fields, Group, Kinds } from './field.js';
import { LIMITS } from './limits.js';
import { MODEL, type FullModelConfig } from './model.js';

/**
 * Number format of gradients on the network: float16 with a power-of-two scale per segment; int8 with a power-of-two scale per 256 values
 * for what workers send, and float16 for what they receive, or int8 for both; or float32.
 */
export const GRADIENT_CODECS = ['fp16', 'int8', 'int8-both', 'fp32'] as const;
export type GradientCodec = (typeof GRADIENT_CODECS)[number];

/** Bytes of a parameter in what workers send and in what they receive, without the scales. */
export const CODED_BYTES: Readonly<Record<GradientCodec, { readonly up: number; readonly down: number }>> = {
  fp16: { up: 2, down: 2 },
  int8: { up: 1, down: 2 },
  'int8-both': { up: 1, down: 1 },
  fp32: { up: 4, down: 4 },
};

const WEIGHT_DECAY = {
  type: 'real',
  min: 0,
  max: 1,
  default: 0,
  option: { flag: '--weight-decay', placeholder: 'X', group: 'Training', help: 'L2 penalty; decoupled for adamw' },
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
    /** The step looks ahead, as in PyTorch (Sutskever et al. 2013). */
    nesterov: {
      type: 'switch',
      default: false,
      optional: true,
      option: { flag: '--nesterov', group: 'Training', help: "sgd: Nesterov's form of momentum" },
    },
  },
} as const satisfies Group;

const ADAM = {
  fields: {
    beta1: {
      type: 'real',
      min: 0,
      max: 0.9999,
      default: 0.9,
      option: { flag: '--beta1', placeholder: 'X', group: 'Training', help: 'adam, adamw: decay rate of the first moment' },
    },
    beta2: {
      type: 'real',
      min: 0,
      max: 0.999999,
      default: 0.99,
      option: { flag: '--beta2', placeholder: 'X', group: 'Training', help: 'adam, adamw: decay rate of the second moment' },
    },
    epsilon: { type: 'real', min: 1e-12, max: 1, default: 1e-8 },
    weightDecay: WEIGHT_DECAY,
  },
} as const satisfies Group;

/**
 * Adam (Kingma & Ba 2015, algorithm 1); `adamw` decouples weight decay (Loshchilov & Hutter 2019,
 * algorithm 2).
 */
const OPTIMIZER = {
  type: 'kinds',
  kinds: { adam: ADAM, adamw: ADAM, sgd: SGD },
  default: 'adam',
  option: { flag: '--optimizer', placeholder: 'NAME', group: 'Training', help: 'sgd, adam or adamw' },
} as const satisfies Kinds;

const SCHEDULE = {
  type: 'kinds',
  kinds: {
    /**
     * Rises linearly from 0 over `warmupRounds`, then falls along half a cosine to `finalFraction`
     * of the peak in the last round.
     */
    cosine: {
      fields: {
        warmupRounds: {
          type: 'whole',
          min: 0,
          max: LIMITS.rounds,
          default: 20,
          option: {
            flag: '--warmup',
            scaling: 'count',
            placeholder: 'N',
            group: 'Training',
            help: 'cosine: rounds of linear warm-up',
          },
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
            help: 'cosine: final learning rate, as a fraction of the peak',
          },
        },
        /** Rounds until the final rate is reached; it then stays. 0: all rounds of the run. */
        decayRounds: {
          type: 'whole',
          min: 0,
          max: LIMITS.rounds,
          default: 0,
          optional: true,
          option: {
            flag: '--lr-rounds',
            scaling: 'count',
            placeholder: 'N',
            group: 'Training',
            help: 'cosine: rounds until the final learning rate is reached; 0 = all --rounds',
          },
        },
      },
    },
    constant: { fields: {} },
    /** The rate is multiplied by `factor` every `everyRounds` rounds. */
    step: {
      fields: {
        everyRounds: {
          type: 'whole',
          min: 1,
          max: LIMITS.rounds,
          default: 500,
          option: {
            flag: '--lr-step',
            scaling: 'count',
            placeholder: 'N',
            group: 'Training',
            help: 'step: rounds between decays',
          },
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
  option: {
    flag: '--schedule',
    placeholder: 'NAME',
    group: 'Training',
    help: 'learning rate over the run: cosine, constant or step',
  },
} as const satisfies Kinds;

const TRAINING_FIELDS = {
  model: MODEL,
  /** B, streams: the global batch, however many workers there are. */
  streams: {
    type: 'whole',
    min: 1,
    max: LIMITS.streams,
    default: 32,
    option: {
      flag: '--batch',
      placeholder: 'B',
      group: 'Data',
      help: 'streams: parallel tracks of the text; together they form the global batch',
    },
  },
  /**
   * 0: the scheduler sizes leases by the workers' speeds. Otherwise the run is reproducible: each
   * lease is streams [k * leaseStreams, (k+1) * leaseStreams) of one k (the last lease may be
   * smaller), so sums are formed in the same way whichever workers take part.
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
      help: 'streams per lease in a reproducible run; the result depends on it (default: an eighth of the batch)',
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
      scaling: 'count',
      placeholder: 'N',
      group: 'Training',
      help: 'global steps; each takes one window of every stream',
    },
  },
  /**
   * H. 1: every round takes one window, and the optimizer steps with the mean gradient. Otherwise a round is local (DiLoCo: Douillard et al.
   * 2023): each track takes H steps of `optimizer` by itself, whose state starts afresh, and the round steps with the mean of the differences.
   */
  localSteps: {
    type: 'whole',
    min: 1,
    max: LIMITS.localSteps,
    default: 1,
    optional: true,
    option: {
      flag: '--local-steps',
      placeholder: 'H',
      group: 'Network',
      help: 'steps that a track takes by itself before the results are averaged; above 1, workers on slow links have H times less to send (try 32), and each window counts a little less; defaults and recipes that count rounds are then divided by H; exact rounds (1) for a lab and local ones for slow links are not one run: a run has one H for all of its workers',
    },
  },
  /** Tracks of a local round: track k is streams [k * B / tracks, (k + 1) * B / tracks). 0 when rounds are not local. */
  tracks: {
    type: 'whole',
    min: 0,
    max: LIMITS.streams,
    default: 0,
    optional: true,
    option: {
      flag: '--tracks',
      placeholder: 'K',
      group: 'Network',
      help: 'with --local-steps: groups of streams that are trained apart, so as many workers can take part; it must divide --batch (default: the most up to 8 that do)',
    },
  },
  /**
   * Of the outer step, which is SGD with Nesterov momentum over the mean difference. DiLoCo takes 0.7 and momentum 0.9, which costs more loss
   * here: see `npm run bench -- local`.
   */
  outerLearningRate: {
    type: 'real',
    min: 0,
    max: LIMITS.outerLearningRate,
    default: 1,
    optional: true,
    option: {
      flag: '--outer-lr',
      placeholder: 'X',
      group: 'Training',
      help: 'with --local-steps: learning rate of the step with the mean difference',
    },
  },
  outerMomentum: {
    type: 'real',
    min: 0,
    max: 0.9999,
    default: 0.7,
    optional: true,
    option: {
      flag: '--outer-momentum',
      placeholder: 'X',
      group: 'Training',
      help: 'with --local-steps: momentum of the step with the mean difference',
    },
  },
  /**
   * The round before which a resume last changed `localSteps`, and the first window of that round. From then on the schedule counts windows:
   * the same of them belong to rounds of every kind. 0: nothing was changed.
   */
  changedRound: { type: 'whole', min: 0, max: LIMITS.rounds, default: 0, optional: true },
  changedWindow: { type: 'whole', min: 0, max: LIMITS.windows, default: 0, optional: true },
  seed: {
    type: 'whole',
    min: 0,
    max: 0xffffffff,
    default: 1,
    option: {
      flag: '--seed',
      placeholder: 'S',
      group: 'Training',
      help: 'seed of the initial parameters, of dropout and of samples',
    },
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
  /** Initial value of an LSTM's forget-gate biases. Other cells have none. */
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
      help: 'lstm: initial bias of the forget gates',
    },
  },
  /** Maximum global norm of the mean gradient; 0 turns clipping off. */
  clip: {
    type: 'real',
    min: 0,
    max: LIMITS.clip,
    default: 1,
    tunable: true,
    option: {
      flag: '--clip',
      placeholder: 'X',
      group: 'Training',
      help: 'clip the global norm of the mean gradient to X; 0 = no clipping',
    },
  },
  optimizer: OPTIMIZER,
  /**
   * D of the moving average of the parameters, which only the coordinator keeps (Polyak & Juditsky
   * 1992); 0: none. See Replica.average.
   */
  ema: {
    type: 'real',
    min: 0,
    max: 0.99999,
    default: 0,
    optional: true,
    option: {
      flag: '--ema',
      scaling: 'decay',
      placeholder: 'D',
      group: 'Training',
      help: 'also average the parameters over about 1/(1 - D) rounds, and keep whichever is better; 0 = no average (try 0.998)',
    },
  },
  schedule: SCHEDULE,
  codec: {
    type: 'choice',
    choices: GRADIENT_CODECS,
    default: 'fp16',
    option: {
      flag: '--codec',
      former: '--wire',
      placeholder: 'FORMAT',
      group: 'Network',
      help: 'number format of gradients on the network: fp16, fp32, int8, which halves what workers send, or int8-both, which halves what they receive as well (for local rounds)',
    },
  },
} as const satisfies Fields;

/** Default number of leases in a reproducible round, and the most tracks by default, so that eight workers can share a round. */
const LEASES = 8;

export const TRAINING = {
  fields: TRAINING_FIELDS,
  rules: [
    {
      field: 'leaseStreams',
      problem: 'must be at most streams',
      holds: ({ leaseStreams, streams }: TrainingConfig) => leaseStreams <= streams,
    },
    {
      field: 'rounds',
      problem: (config: TrainingConfig) => `must be at most ${mostRounds(config)} with --local-steps ${config.localSteps}`,
      holds: (config: TrainingConfig) => config.rounds <= mostRounds(config),
    },
    {
      field: 'tracks',
      problem: 'has no effect unless --local-steps is above 1',
      holds: (config: TrainingConfig) => isLocal(config) || config.tracks === 0,
    },
    {
      field: 'tracks',
      problem: ({ tracks, streams }: TrainingConfig) =>
        `must divide the batch of ${streams} streams: ${nearestTracks(tracks, streams)}`,
      holds: (config: TrainingConfig) => !isLocal(config) || config.streams % config.tracks === 0,
    },
    {
      field: 'leaseStreams',
      problem: (config: TrainingConfig) =>
        `must be ${config.streams / config.tracks}, the streams of a track, because with --local-steps a lease is a track`,
      holds: (config: TrainingConfig) =>
        !isLocal(config) || config.leaseStreams === 0 || config.leaseStreams === unitStreams(config),
    },
  ],
  derived: {
    tracks: (config: TrainingConfig) => usualTracks(config),
    leaseStreams: (config: TrainingConfig, isGiven) => (isGiven('--reproducible') ? usualLeaseStreams(config) : 0),
  },
} as const satisfies Group;

/** Tracks of a run that names no number; 0 if its rounds are not local. */
export function usualTracks(config: Pick<TrainingConfig, 'localSteps' | 'streams'>): number {
  return isLocal(config) ? tracksUpTo(LEASES, config.streams) : 0;
}

/** Streams of a lease in a reproducible run that names no number. */
export function usualLeaseStreams(config: Pick<TrainingConfig, 'localSteps' | 'tracks' | 'streams' | 'leaseStreams'>): number {
  return isLocal(config) ? unitStreams(config) : Math.ceil(config.streams / LEASES);
}

function mostRounds({ localSteps, changedRound, changedWindow }: TrainingConfig): number {
  return changedRound + Math.floor((LIMITS.windows - changedWindow) / localSteps);
}

/** The largest divisor of `streams` that is not larger than `most`. */
function tracksUpTo(most: number, streams: number): number {
  let tracks = Math.max(1, Math.min(Math.floor(most) || 1, streams));
  while (streams % tracks !== 0) tracks--;
  return tracks;
}

/** "4 and 8 do", the nearest on both sides. */
function nearestTracks(tracks: number, streams: number): string {
  const below = tracksUpTo(tracks, streams);
  let above = Math.max(tracks, 1);
  while (above < streams && streams % above !== 0) above++;
  return above > streams || above === below ? `${below} does` : `${below} and ${above} do`;
}

export type OptimizerConfig = CompleteKinds<typeof OPTIMIZER>;
export type ScheduleConfig = CompleteKinds<typeof SCHEDULE>;

/** What a run trains and how. It is fixed for the life of the run and the same for every replica. */
export interface TrainingConfig extends Complete<typeof TRAINING_FIELDS> {
  readonly model: FullModelConfig;
  readonly optimizer: OptimizerConfig;
  readonly schedule: ScheduleConfig;
}

/** Whether tracks take steps by themselves between the rounds. The config of an old run has no `localSteps`. */
export function isLocal({ localSteps = 1 }: Partial<Pick<TrainingConfig, 'localSteps'>>): boolean {
  return localSteps > 1;
}

/** Streams of every lease: of a track, or of a lease in a reproducible run; 0 if the scheduler decides. */
export function unitStreams(config: Pick<TrainingConfig, 'localSteps' | 'tracks' | 'streams' | 'leaseStreams'>): number {
  return isLocal(config) ? config.streams / config.tracks : config.leaseStreams;
}

type RoundShape = Pick<TrainingConfig, 'streams' | 'window'> & Partial<Pick<TrainingConfig, 'localSteps'>>;

/** Characters of one stream in a round. The config of an old run has no `localSteps`. */
export function streamCharacters({ window, localSteps = 1 }: Omit<RoundShape, 'streams'>): number {
  return window * localSteps;
}

/** Characters of one round. */
export function roundCharacters(config: RoundShape): number {
  return config.streams * streamCharacters(config);
}

type RoundKinds = Partial<Pick<TrainingConfig, 'localSteps' | 'changedRound' | 'changedWindow'>>;

/**
 * Number of the first window of a round. Numbers go on from pass to pass. Of rounds before `changedRound`, which may have been of several
 * kinds, it is an estimate.
 */
export function firstWindow({ localSteps = 1, changedRound = 0, changedWindow = 0 }: RoundKinds, round: number): number {
  if (round < changedRound) return (round * changedWindow) / changedRound;
  return changedWindow + (round - changedRound) * localSteps;
}

/** How many rounds have this many windows of a stream, but at least `least`: what is said of rounds is usually meant of exact ones. */
export function roundsOfWindows(
  { localSteps = 1 }: Partial<Pick<TrainingConfig, 'localSteps'>>,
  windows: number,
  least: number,
): number {
  return Math.max(least, Math.ceil(windows / localSteps));
}

/** Characters of the first `rounds` rounds. */
export function charactersOf({ streams, window, ...kinds }: RoundShape & RoundKinds, rounds: number): number {
  return streams * window * firstWindow(kinds, rounds);
}

/** The optimizer with which replicas take the step of a round. */
export function roundOptimizer(config: Pick<TrainingConfig, 'localSteps' | 'outerMomentum' | 'optimizer'>): OptimizerConfig {
  if (!isLocal(config)) return config.optimizer;
  return { kind: 'sgd', momentum: config.outerMomentum, weightDecay: 0, nesterov: true };
}
