import type { ModelConfig } from './config.js';
import { EngineError, type Engine } from './engine.js';
import { stateSize } from './layout.js';

export interface EvaluateOptions {
  /**
   * Time steps per engine call, at most the engine's maxWindow. Affects the result only by
   * rounding.
   */
  readonly window: number;
  /**
   * Contiguous pieces computed in parallel, at most the engine's maxStreams. 1 is exact: one
   * hidden state is carried over the whole text. More are faster, but each except the first starts
   * from a state that saw only `warmup` characters.
   */
  readonly lanes: number;
  /**
   * Characters read before the first counted one of each lane; 0 starts lanes from a state of
   * zeros.
   */
  readonly warmup: number;
  /** Checked between engine calls; its reason is thrown. */
  readonly signal?: AbortSignal;
  /** Called after every engine call with the characters counted so far and in total. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface EvaluationReport {
  /** Sum of negative log-likelihood, nats. */
  readonly lossSum: number;
  /** Targets counted, each exactly once: all characters but the first. */
  readonly tokens: number;
  /** lossSum / tokens, nats/char. */
  readonly lossPerChar: number;
}

/** Inputs tokens[at] .. tokens[end - 1], each with the character after it as target. */
interface Lane {
  at: number;
  readonly end: number;
  /** [L, S, H] */
  readonly state: Float32Array;
}

/**
 * Negative log-likelihood of tokens[1..], each given all tokens before it (see `lanes`), from a
 * hidden state of zeros.
 * @throws EngineError `bad_shape` for fewer than 2 tokens or options out of range, `not_finite`,
 * and what Engine.evaluate throws;
 *   the signal's reason if aborted
 */
export async function evaluateLoss(
  engine: Engine,
  config: ModelConfig,
  tokens: Uint16Array,
  options: EvaluateOptions,
): Promise<EvaluationReport> {
  const total = tokens.length - 1;
  checkOptions(total, options);
  const lanes = cutLanes(config, total, options);
  await advance(engine, config, tokens, lanes.warmups, options, () => {});
  let done = 0;
  const lossSum = await advance(engine, config, tokens, lanes.counted, options, (characters) => {
    done += characters;
    options.onProgress?.(done, total);
  });
  if (!Number.isFinite(lossSum)) {
    throw new EngineError(
      'not_finite',
      'the loss is not a finite number',
      'this checkpoint has diverged; evaluate an earlier one',
    );
  }
  return { lossSum, tokens: total, lossPerChar: lossSum / total };
}

function checkOptions(total: number, { window, lanes, warmup }: EvaluateOptions): void {
  if (total < 1) {
    throw new EngineError(
      'bad_shape',
      `the text has ${total + 1} characters, but evaluation needs at least 2`,
      'evaluate a longer text',
    );
  }
  for (const [name, value, least] of [
    ['window', window, 1],
    ['lanes', lanes, 1],
    ['warmup', warmup, 0],
  ] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new EngineError('bad_shape', `${name} is ${value}`, `give ${name} as a whole number of at least ${least}`);
    }
  }
}

/**
 * Lengths differ by at most one. A lane's warm-up and its counted part share one state: the
 * counted part starts where the warm-up ends.
 */
function cutLanes(config: ModelConfig, total: number, options: EvaluateOptions): { warmups: Lane[]; counted: Lane[] } {
  const count = Math.min(options.lanes, total);
  const start = (lane: number): number => Math.floor((lane * total) / count);
  const counted = Array.from({ length: count }, (_, lane) => ({
    at: start(lane),
    end: start(lane + 1),
    state: new Float32Array(stateSize(config)),
  }));
  const warmups = counted.map(({ at, state }) => ({ at: Math.max(0, at - options.warmup), end: at, state }));
  return { warmups, counted };
}

/**
 * Runs every lane to its end, with all unfinished ones in one batch; returns the sum of their
 * losses, nats.
 */
async function advance(
  engine: Engine,
  config: ModelConfig,
  tokens: Uint16Array,
  lanes: readonly Lane[],
  { window, signal }: EvaluateOptions,
  onCharacters: (characters: number) => void,
): Promise<number> {
  const size = stateSize(config);
  let lossSum = 0;
  for (;;) {
    signal?.throwIfAborted();
    const active = lanes.filter(({ at, end }) => at < end);
    if (active.length === 0) return lossSum;
    const T = active.reduce((least, { at, end }) => Math.min(least, end - at), window);
    const batch = {
      streams: active.length,
      window: T,
      tokens: new Uint16Array(active.length * (T + 1)),
      states: new Float32Array(active.length * size),
    };
    active.forEach(({ at, state }, lane) => {
      batch.tokens.set(tokens.subarray(at, at + T + 1), lane * (T + 1));
      batch.states.set(state, lane * size);
    });
    const result = await engine.evaluate(batch);
    lossSum += result.lossSum;
    active.forEach((lane, row) => {
      lane.state.set(result.endStates.subarray(row * size, (row + 1) * size));
      lane.at += T;
    });
    onCharacters(result.tokens);
  }
}
