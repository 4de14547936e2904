import type { ModelConfig } from './config.js';
import { EngineError, type Engine } from './engine.js';
import { stateSize } from './layout.js';
import type { Random } from './random.js';

export interface SampleOptions {
  /** Character ids to read before the first draw; at least one. They are not yielded. */
  readonly prime: Uint16Array;
  /** Number of characters to draw. */
  readonly length: number;
  /**
   * Divides the logits: below 1 the text is more predictable, above 1 more varied; 0 always takes
   * the most likely character.
   */
  readonly temperature: number;
  /** Draws only from the k most likely characters; 0: from all. */
  readonly topK: number;
  /** Consumes one number per character drawn, none at temperature 0. */
  readonly random: Pick<Random, 'uniform'>;
  /** Hidden state [L, S, H] before the prime; zeros if absent. Not modified. */
  readonly state?: Float32Array;
}

/**
 * Yields `length` character ids, each drawn from softmax(logits / temperature) and fed back. The
 * engine is in use until the generator ends; leave the loop to stop early.
 * @throws EngineError `bad_shape` for an empty prime or options out of range, `not_finite` if the
 * logits are not, and what
 *   Engine.step throws
 */
export async function* sample(engine: Engine, config: ModelConfig, options: SampleOptions): AsyncGenerator<number, void, void> {
  checkOptions(options);
  const { prime, length, temperature, topK, random } = options;
  const states = options.state?.slice() ?? new Float32Array(stateSize(config));
  for (const id of prime.subarray(0, -1)) await engine.step(Uint16Array.of(id), states);
  let id = prime[prime.length - 1];
  for (let drawn = 0; drawn < length; drawn++) {
    const logits = await engine.step(Uint16Array.of(id), states);
    checkLogits(logits);
    id = temperature === 0 ? likeliest(logits) : draw(logits, temperature, topK, random);
    yield id;
  }
}

function checkOptions({ prime, length, temperature, topK }: SampleOptions): void {
  const complain = (problem: string, remedy: string): never => {
    throw new EngineError('bad_shape', problem, remedy);
  };
  if (prime.length === 0) complain('the prime is empty', 'give at least one character as the prime, such as a line break');
  if (!Number.isInteger(length) || length < 0) complain(`length is ${length}`, 'give the length as a whole number of characters');
  if (!(temperature >= 0 && temperature < Infinity)) {
    complain(`temperature is ${temperature}`, 'give a temperature of 0 or more, such as 0.8');
  }
  if (!Number.isInteger(topK) || topK < 0)
    complain(`topK is ${topK}`, 'give topK as a whole number; 0 draws from all characters');
}

function checkLogits(logits: Float32Array): void {
  for (const logit of logits) {
    if (!Number.isFinite(logit)) {
      throw new EngineError(
        'not_finite',
        'the logits are not finite numbers',
        'this checkpoint has diverged; sample from an earlier one',
      );
    }
  }
}

/** Index of the first of the greatest logits. */
function likeliest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/**
 * Inverse of the cumulative distribution over the candidates, most likely first; equal logits in
 * order of id.
 */
function draw(logits: Float32Array, temperature: number, topK: number, random: Pick<Random, 'uniform'>): number {
  const candidates = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
  if (topK > 0) candidates.length = Math.min(topK, candidates.length);
  const greatest = logits[candidates[0]];
  const masses = candidates.map((id) => Math.exp((logits[id] - greatest) / temperature));
  let left = random.uniform() * masses.reduce((sum, mass) => sum + mass, 0);
  const chosen = masses.findIndex((mass) => (left -= mass) < 0);
  // Rounding can leave a tiny rest past the last candidate.
  return candidates[chosen === -1 ? candidates.length - 1 : chosen];
}
