import * as v from 'valibot';
import { LIMITS } from './limits.js';

const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
const real = (least: number, most: number) => v.pipe(v.number(), v.finite(), v.minValue(least), v.maxValue(most));

/** What a layer is made of; libs/model says how each computes. */
export const CELLS = ['lstm', 'gru', 'gru-reset-after', 'rnn-tanh', 'rnn-relu'] as const;

/** Fields with a default may be absent in what was stored by releases that did not have them; senders write them all. */
export const ModelConfigSchema = v.pipe(
  v.strictObject({
    cell: v.picklist(CELLS),
    layers: whole(1, LIMITS.layers),
    hidden: whole(1, LIMITS.hidden),
    vocabulary: whole(2, LIMITS.vocabulary),
    /** Length of a character's embedding; 0: characters enter one-hot. */
    embedding: v.optional(whole(0, LIMITS.embedding), 0),
    /** Embedding and output layer share one matrix. */
    tied: v.optional(v.boolean(), false),
    /** Probability that an output of a layer is dropped on its way to the layer above. */
    dropout: v.optional(v.pipe(real(0, 1), v.ltValue(1)), 0),
    /** What a layer hands up is normalised over its units. */
    layerNorm: v.optional(v.boolean(), false),
  }),
  v.forward(
    v.check(({ tied, embedding, hidden }) => !tied || embedding === hidden, 'must be as large as hidden when tied'),
    ['embedding'],
  ),
);

export const OptimizerConfigSchema = v.variant('kind', [
  v.strictObject({ kind: v.literal('sgd'), momentum: real(0, 0.9999), weightDecay: real(0, 1) }),
  v.strictObject({
    kind: v.picklist(['adam', 'adamw']),
    beta1: real(0, 0.9999),
    beta2: real(0, 0.999999),
    epsilon: real(1e-12, 1),
    weightDecay: real(0, 1),
  }),
]);

export const ScheduleConfigSchema = v.variant('kind', [
  v.strictObject({ kind: v.literal('constant') }),
  v.strictObject({ kind: v.literal('step'), everyRounds: whole(1, LIMITS.rounds), factor: real(0, 1) }),
  v.strictObject({ kind: v.literal('cosine'), warmupRounds: whole(0, LIMITS.rounds), finalFraction: real(0, 1) }),
]);

/** How gradients travel: float16 with a power-of-two scale per tensor, or float32. */
export const GRADIENT_CODECS = ['fp16', 'fp32'] as const;
export type GradientCodec = (typeof GRADIENT_CODECS)[number];

/** What a run trains and how; fixed for its life and the same for every replica. */
export const TrainingConfigSchema = v.pipe(
  v.strictObject({
    model: ModelConfigSchema,
    /** B, streams: the global batch, whoever computes it. */
    streams: whole(1, LIMITS.streams),
    /**
     * 0: leases are cut by the workers' speeds. Else the run is reproducible: a lease is always streams [k * leaseStreams,
     * (k+1) * leaseStreams) of one k, the last one fewer, so that every sum is formed in the same way whoever takes part.
     */
    leaseStreams: v.optional(whole(0, LIMITS.streams), 0),
    /** T, time steps of truncated BPTT. */
    window: whole(1, LIMITS.window),
    rounds: whole(1, LIMITS.rounds),
    seed: whole(0, 0xffffffff),
    /** Peak learning rate. */
    learningRate: real(0, 1000),
    /** What an LSTM's forget-gate biases start from; other cells have none. */
    forgetBias: v.optional(real(0, LIMITS.forgetBias), 1),
    /** Global norm of the mean gradient is clipped to this; 0 leaves it unclipped. */
    clip: real(0, 1e9),
    optimizer: OptimizerConfigSchema,
    schedule: ScheduleConfigSchema,
    codec: v.picklist(GRADIENT_CODECS),
  }),
  v.forward(
    v.check(({ leaseStreams, streams }) => leaseStreams <= streams, 'must be at most streams'),
    ['leaseStreams'],
  ),
);
export type TrainingConfig = v.InferOutput<typeof TrainingConfigSchema>;

/**
 * From anything: a flag parser's object, a checkpoint's JSON, a message's field.
 * @returns the config, or the dotted name of the first field that is off and what is wrong with it
 */
export function parseTrainingConfig(
  value: unknown,
):
  | { readonly ok: true; readonly config: TrainingConfig }
  | { readonly ok: false; readonly field: string; readonly problem: string } {
  const result = v.safeParse(TrainingConfigSchema, value);
  if (result.success) return { ok: true, config: result.output };
  const [issue] = result.issues;
  return { ok: false, field: v.getDotPath(issue) ?? '', problem: issue.message };
}
