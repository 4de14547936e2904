/**
 * A contestant is a child process that holds one model. It takes timed steps on request and idles otherwise, so contestants can be
 * measured in turn, each warm, and never two at once. It reads JSON objects from its standard input, one per line, and answers each
 * with one: first the size, answered by { detail }; then { steps: n }, answered by { ms: [n], loss }. It ends when its input ends.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';
import { BenchError } from './bench-error.mjs';
import { characters, describeSize, VOCABULARY } from './configs.mjs';
import { interruption } from './interruption.mjs';

/** @typedef {import('./configs.mjs').Size} Size */
/**
 * @typedef {object} Entry
 * @property {string} name
 * @property {readonly string[]} command program and arguments
 * @property {Record<string, string>} [env]
 * @property {Size} size of its model and batch
 * @property {boolean} trains whether a step moves the parameters
 * @property {boolean} [optional] left out if its first step takes too long; otherwise that is an error
 */
/** @typedef {{ ms: readonly number[], loss: number }} Answer */
/**
 * @typedef {object} Score
 * @property {string} name
 * @property {string} detail what ran, as the contestant says
 * @property {Size} size
 * @property {number} stepMs median over all repetitions
 * @property {number} charsPerSecond at the median step
 * @property {readonly number[]} repetitionMs the median step of each repetition
 * @property {number} steps counted
 */

const TAIL_LINES = 8;
const PREPARE_MS = 60_000;
/** A repetition lasts about this long, and takes at least one step. */
const REPETITION_MS = 1_500;
const QUICK_REPETITION_MS = 150;
const MAX_STEPS = 400;

export class Contestant {
  #child;
  #lines;
  /** @type {string[]} */
  #tail = [];
  detail = '';

  /** @param {Entry} entry */
  constructor(entry) {
    this.entry = entry;
    const [program, ...args] = entry.command;
    this.#child = spawn(program, args, { stdio: 'pipe', env: { ...process.env, ...entry.env }, signal: interruption });
    // Writing to a process that has ended fails here. The code that reads the answer notices the end and reports it.
    this.#child.stdin.on('error', () => {});
    this.#child.on('error', (error) => this.#tail.push(error.message));
    createInterface({ input: this.#child.stderr }).on('line', (line) => this.#tail.push(line));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async prepare(/** @type {number} */ deadlineMs) {
    const { detail } = await this.#ask({ ...this.entry.size, vocabulary: VOCABULARY }, deadlineMs);
    this.detail = detail;
  }

  /**
   * @param {number} steps
   * @param {number} deadlineMs for all of them
   * @returns {Promise<Answer>}
   * @throws {BenchError} `deadline`, `ended`, `wrong_result`; the process is gone then
   */
  async step(steps, deadlineMs) {
    const answer = await this.#ask({ steps }, deadlineMs);
    this.#checkLoss(answer.loss);
    return answer;
  }

  close() {
    this.#child.kill('SIGKILL');
  }

  /**
   * @param {object} message
   * @param {number} deadlineMs
   */
  async #ask(message, deadlineMs) {
    const { name, size } = this.entry;
    const late = new BenchError(
      'deadline',
      `${name} at ${describeSize(size)}: no answer within ${deadlineMs / 1000} s`,
      'Measure it on a faster machine, or with nothing else running.',
    );
    /** @type {NodeJS.Timeout | undefined} */
    let timer;
    /** @type {Promise<never>} */
    const deadline = new Promise((_, reject) => (timer = setTimeout(() => reject(late), deadlineMs)));
    this.#child.stdin.write(`${JSON.stringify(message)}\n`);
    try {
      return await Promise.race([this.#answer(), deadline]);
    } catch (error) {
      this.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** The next line that is an object. Other lines, which a library may print, are skipped. */
  async #answer() {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) {
        const why = this.#tail.slice(-TAIL_LINES).join('\n  ');
        throw new BenchError(
          'ended',
          `${this.entry.name} ended:\n  ${why}`,
          'The lines above say why. Check that everything is built and installed.',
        );
      }
      if (value.startsWith('{')) return JSON.parse(value);
    }
  }

  /** An untrained model loses about ln V nats on every character. A contestant that does less work shows a different loss. */
  #checkLoss(/** @type {number} */ loss) {
    const uniform = Math.log(VOCABULARY);
    if (this.entry.trains ? loss < uniform + 1 : Math.abs(loss - uniform) < 0.3) return;
    throw new BenchError(
      'wrong_result',
      `${this.entry.name} has a loss of ${loss} nats/char; about ${uniform.toFixed(2)} is right`,
      'Correct it first: its figures would mean nothing.',
    );
  }
}

/**
 * @typedef {object} RaceOptions
 * @property {boolean} quick
 * @property {number} repetitions
 * @property {number} [deadlineMs] for the first step, which compiles and allocates; default 60 s
 */

/**
 * Starts and warms up every entry, then measures them in turn, again and again.
 * @param {readonly Entry[]} entries
 * @param {RaceOptions} options
 * @returns {Promise<{ scores: Score[], dropped: BenchError[] }>} `dropped`: the errors of optional entries whose first step
 * missed the deadline; they have no score
 * @throws {BenchError} `deadline` for any other entry
 */
export async function race(entries, { quick, repetitions, deadlineMs = 60_000 }) {
  /** @type {{ contestant: Contestant, plan: number, times: number[][] }[]} */
  const running = [];
  const dropped = [];
  const all = [];
  try {
    for (const entry of entries) {
      const contestant = new Contestant(entry);
      all.push(contestant);
      try {
        running.push({ contestant, plan: await warmUp(contestant, quick, deadlineMs), times: [] });
      } catch (error) {
        if (!(entry.optional && error instanceof BenchError && error.code === 'deadline')) throw error;
        dropped.push(error);
      }
    }
    for (let i = 0; i < repetitions; i++) {
      for (const { contestant, plan, times } of running) {
        const { ms } = await contestant.step(plan, 2 * deadlineMs);
        times.push([...ms]);
      }
    }
    return { scores: running.map(({ contestant, times }) => scoreOf(contestant, times)), dropped };
  } finally {
    for (const contestant of all) contestant.close();
  }
}

/**
 * @param {Contestant} contestant
 * @param {boolean} quick
 * @param {number} deadlineMs
 * @returns {Promise<number>} steps of a repetition
 */
async function warmUp(contestant, quick, deadlineMs) {
  await contestant.prepare(Math.max(PREPARE_MS, deadlineMs));
  const repetitionMs = quick ? QUICK_REPETITION_MS : REPETITION_MS;
  let [stepMs] = (await contestant.step(1, deadlineMs)).ms;
  // The code of fast contestants is still being compiled after one step.
  if (stepMs < repetitionMs) stepMs = median((await contestant.step(Math.ceil(repetitionMs / stepMs), deadlineMs)).ms);
  return Math.min(MAX_STEPS, Math.max(1, Math.round(repetitionMs / stepMs)));
}

/**
 * @param {Contestant} contestant
 * @param {number[][]} times
 * @returns {Score}
 */
function scoreOf({ entry: { name, size }, detail }, times) {
  const repetitionMs = times.map(median);
  const stepMs = median(repetitionMs);
  return {
    name,
    detail,
    size,
    stepMs,
    charsPerSecond: (characters(size) / stepMs) * 1000,
    repetitionMs,
    steps: times.flat().length,
  };
}

/**
 * The chars/s of `one` divided by those of `other`: the median over repetitions, each measured within seconds.
 * @param {Score} one
 * @param {Score} other
 */
export function ratioOf(one, other) {
  const perCharacter = (/** @type {Score} */ score, /** @type {number} */ i) => score.repetitionMs[i] / characters(score.size);
  return median(one.repetitionMs.map((_, i) => perCharacter(other, i) / perCharacter(one, i)));
}

/** @param {readonly number[]} values at least one */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
