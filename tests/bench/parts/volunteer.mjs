/** What an hour of a volunteer costs in traffic. */
import { modelConfig } from '@troupe/config';
import { createLayout } from '@troupe/model';
import { joinBytes, optimizerSlotsOf } from '@troupe/run';
import { BenchError } from '../bench-error.mjs';
import { VOCABULARY } from '../configs.mjs';
import { median } from '../contestant.mjs';
import { count, decimal, ms } from '../report.mjs';
import { startTroupe, usualCorpus, withScratch } from '../runs.mjs';

/** @typedef {{ recipe: string, layers: number, hidden: number, batch: number }} Run */
/** @typedef {Run & { localSteps: number }} Session */
/** @typedef {Session & { roundMs: number, roundBytes: number, joinBytes: number, hourBytes: number }} Measured */

export const title = 'The traffic of a volunteer';
export const about =
  'A real worker (wasm, one thread, and the share of it that the page for volunteers takes by default) in local rounds of what the recipes train; `quick` is what `troupe ' +
  'train` trains without flags. It computes one track of eight, as one of eight equal volunteers does: the run has an eighth of the batch, in one track. What the worker ' +
  'has sent and received counts, without joining, at the pace of the rounds on this machine.';

/** Per cent, as the page has it. */
const SHARE = 70;
const VOLUNTEERS = 8;
const STEPS = [32, 80];
const ROUNDS = 4;
const GOAL_BYTES = 0.3e9;
const HOUR_MS = 3_600_000;
const DEADLINE_MS = 600_000;
/** @type {readonly Run[]} */
const RUNS = [
  { recipe: 'quick', layers: 2, hidden: 192, batch: 16 },
  { recipe: 'shakespeare-good', layers: 2, hidden: 512, batch: 64 },
];

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  /** @type {Measured[]} */
  const sessions = [];
  for (const run of quick ? RUNS.slice(0, 1) : RUNS) {
    for (const localSteps of quick ? STEPS.slice(0, 1) : STEPS) {
      progress(`${run.recipe}, ${localSteps} local steps`);
      sessions.push(await session({ ...run, localSteps }, quick ? 2 : ROUNDS));
    }
  }
  return { tables: [tableOf(sessions)], goals: [goalOf(sessions[0])], notes: [noteOf(sessions[0])], data: { sessions } };
}

/** @param {Session} of @param {number} rounds @returns {Promise<Measured>} */
async function session(of, rounds) {
  const { layers, hidden, batch, localSteps } = of;
  const model = modelConfig({ layers, hidden, layerNorm: true, vocabulary: VOCABULARY });
  const parameters = createLayout(model).size;
  const joining = joinBytes(parameters, { optimizerSlots: optimizerSlotsOf('adam', localSteps) });
  // A round is a byte a parameter up and one down; a little less than a whole number of them, as the last one is finished.
  const limitMb = Math.ceil((joining + 2 * parameters * (rounds - 0.5)) / 1e6);
  const flags = [
    ...[`--corpus=${usualCorpus()}`, `--layers=${layers}`, `--hidden=${hidden}`, '--layer-norm', '--dropout=0.3'],
    ...[`--batch=${batch / VOLUNTEERS}`, `--local-steps=${localSteps}`, '--tracks=1', '--codec=int8-both', '--warmup=1'],
    ...['--rounds=1000', '--eval-every=0', '--sample-every=0', '--checkpoint-every=0'],
  ];
  const { roundMs, sentBytes, receivedBytes, counted } = await withScratch((out) => watch([...flags, `--out=${out}`], limitMb));
  // A byte a parameter. The worker may have left before the update of its last round.
  const updates = Math.max(1, Math.round((receivedBytes - joining) / parameters));
  const roundBytes = sentBytes / counted + (receivedBytes - joining) / updates;
  const usualMs = median(roundMs);
  return { ...of, roundMs: usualMs, roundBytes, joinBytes: joining, hourBytes: (roundBytes * HOUR_MS) / usualMs };
}

/** @param {readonly string[]} flags @param {number} limitMb at which the worker leaves */
async function watch(flags, limitMb) {
  const env = { TROUPE_TOKEN: 'bench' };
  /** @type {number[]} */
  const roundMs = [];
  let [sentBytes, receivedBytes, counted] = [0, 0, 0];
  /** @type {Promise<void> | undefined} */
  let worked;
  const run = startTroupe(['coordinator', '--json', '--port=0', ...flags], {
    deadlineMs: DEADLINE_MS,
    env,
    onMessage: (event) => {
      if (event.event === 'round') roundMs.push(event.roundMs);
      if (event.event !== 'listening') return;
      const args = [
        'worker',
        event.address,
        '--json',
        '--engine=wasm',
        '--threads=1',
        `--share=${SHARE}`,
        `--traffic-limit=${limitMb}MB`,
      ];
      const onMessage = (/** @type {any} */ line) => {
        if (line.kind === 'computed') counted++;
        if (line.kind === 'limit') ({ sentBytes, receivedBytes } = line);
      };
      // It ends with a code of its own when the limit is reached.
      worked = startTroupe(args, { deadlineMs: DEADLINE_MS, env, onMessage }).ended.catch(() => {});
      void worked.then(run.stop);
    },
  });
  await run.ended;
  await worked;
  if (sentBytes === 0 || counted === 0)
    throw new BenchError('run_failed', 'the worker ended before its traffic limit', 'Run it by hand to see why.');
  return { roundMs, sentBytes, receivedBytes, counted };
}

const gb = (/** @type {number} */ bytes) => `${decimal(bytes / 1e9, 2)} GB`;

/** @param {readonly Measured[]} sessions */
function tableOf(sessions) {
  return {
    head: ['Recipe', 'Model', 'Local steps', 'A round', 'MB in a round', 'In an hour', 'MB to join'],
    rows: sessions.map(({ recipe, layers, hidden, localSteps, roundMs, roundBytes, hourBytes, joinBytes: joining }) => [
      ...[recipe, `${layers}x${hidden}`, String(localSteps), ms(roundMs), decimal(roundBytes / 1e6, 2)],
      ...[gb(hourBytes), decimal(joining / 1e6, 1)],
    ]),
  };
}

/** @param {Measured} usual */
function goalOf({ recipe, localSteps, hourBytes }) {
  return {
    text: `${recipe}, ${localSteps} local steps: ${gb(hourBytes)} an hour (goal: at most ${gb(GOAL_BYTES)})`,
    met: hourBytes <= GOAL_BYTES,
    binding: false,
  };
}

/** What grows with the steps are the characters, of two bytes. @param {Measured} usual */
function noteOf({ recipe, batch, localSteps, roundMs, roundBytes }) {
  const characters = (batch / VOLUNTEERS) * localSteps * 64;
  const perMs = GOAL_BYTES / HOUR_MS;
  const steps = (localSteps * (roundBytes - 2 * characters)) / (perMs * roundMs - 2 * characters);
  const needed = steps > 0 ? `takes ${count(steps)} local steps` : 'is less than the characters alone take';
  return `at this speed, ${gb(GOAL_BYTES)} an hour ${needed} with ${recipe}`;
}
