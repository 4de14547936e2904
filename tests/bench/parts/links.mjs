/** What thin links leave of workers: in simulated time, and with real processes in network namespaces. */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { BenchError } from '../bench-error.mjs';
import { VOCABULARY } from '../configs.mjs';
import { hasLatency, withMachines, whyNoNamespaces } from '../communication/namespaces.mjs';
import { runNullWorkers } from '../communication/null-run.mjs';
import { interruption } from '../interruption.mjs';
import { decimal } from '../report.mjs';
import { withScratch } from '../runs.mjs';

/**
 * @typedef {object} Plan as in tests/simulate/links.ts
 * @property {number} workers
 * @property {number} localSteps
 * @property {number} tracks of a worker
 * @property {string} codec
 * @property {number} rounds
 */
/** @typedef {{ utilisation: number, roundMs: number, sentBytes: number, receivedBytes: number, characters: number }} Figures */
/** @typedef {{ plan: Plan, figures: Figures }} Simulated */
/** @typedef {{ localSteps: number, simulated: Figures, real: Pick<Figures, 'utilisation' | 'roundMs'> }} Compared */

export const title = 'Workers on thin links';
export const about =
  'Twenty workers with 2x512 on home lines of 20 Mbit/s up, 100 Mbit/s down and 40 ms each way, and a coordinator on 1 Gbit/s: the production ' +
  'code in simulated time, where an engine takes 0.44 s for 16 streams of 64 characters and computes nothing. Utilisation is the part of the time in which engines ' +
  'compute, the mean over all workers. Then the same lines with three real worker processes, whose engines sleep as long, each in a network namespace of ' +
  'its own, against the simulation of just that.';

const SIMULATE = fileURLToPath(new URL('../../simulate/main.mjs', import.meta.url));
const LINES = { up: 20, down: 100, oneWayMs: 40 };
const STREAMS = 16;
const WINDOW_MS = 440;
const WORKERS = 3;
const DEADLINE_MS = 600_000;
const BUSY_GOAL = 0.9;
const AGREEMENT_GOAL = 0.1;
/** The kinds of rounds of the comparison: rounds that are measured, and before that. */
const KINDS = [
  { localSteps: 1, codec: 'fp16', rounds: 6, warmup: 6 },
  { localSteps: 32, codec: 'int8-both', rounds: 2, warmup: 2 },
];

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  progress('twenty simulated workers');
  const simulated = await simulate(quick ? 'hidden=64,upMbit=0.4,downMbit=2,hubMbit=20,warmup=5' : '', progress);
  const noNetwork = whyNoNamespaces();
  /** @type {Compared[]} */
  const compared = [];
  const withLatency = noNetwork === undefined && hasLatency();
  for (const kind of noNetwork === undefined && !quick ? KINDS : []) {
    progress(`three processes, ${nameOf(kind)}`);
    const real = await realRun(kind, withLatency);
    const plan = `workers=${WORKERS},hubMbit=10000,latencyMs=${withLatency ? LINES.oneWayMs : 0},localSteps=${kind.localSteps},codec=${kind.codec}`;
    const [{ figures }] = await simulate(plan, progress);
    compared.push({ localSteps: kind.localSteps, simulated: figures, real });
  }
  return {
    tables: [simulatedTable(simulated), ...(compared.length > 0 ? [comparedTable(compared, withLatency)] : [])],
    goals: [...busyGoal(simulated), ...compared.map(agreementGoal)],
    notes: [
      ...(noNetwork === undefined ? [] : [`Real processes are not measured: ${noNetwork}.`]),
      ...(compared.length > 0 && !withLatency
        ? [
            'The kernel of this machine cannot delay packets (netem): the lines of processes have their rates (tbf), and neither they nor the simulation of them have latency.',
          ]
        : []),
    ],
    data: { simulated, compared },
  };
}

/**
 * @param {string} plan what differs from the usual setting
 * @param {(text: string) => void} progress
 * @returns {Promise<Simulated[]>}
 */
async function simulate(plan, progress) {
  const args = [SIMULATE, '--links', '--json', ...(plan === '' ? [] : [`--plan=${plan}`])];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], signal: interruption });
  /** @type {Simulated[]} */
  const results = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const result = /** @type {Simulated} */ (JSON.parse(line));
    progress(`simulated, ${nameOf(result.plan)}: busy ${percent(result.figures.utilisation)} of the time`);
    results.push(result);
  });
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  if (code !== 0 || results.length === 0)
    throw new BenchError('run_failed', `the simulation ended with ${code}`, `Run it by hand: node ${args.join(' ')}`);
  return results;
}

/** @param {typeof KINDS[number]} kind @param {boolean} withLatency */
async function realRun({ localSteps, codec, rounds, warmup }, withLatency) {
  const isLocal = localSteps > 1;
  const plan = {
    size: { layers: 2, hidden: 512, streams: WORKERS * STREAMS, window: 64 },
    ...{ workers: WORKERS, msPerStream: WINDOW_MS / STREAMS, warmup, rounds, deadlineMs: DEADLINE_MS },
    flags: [`--codec=${codec}`, ...(isLocal ? [`--local-steps=${localSteps}`, `--tracks=${WORKERS}`] : [])],
  };
  const machines = {
    machines: 1 + WORKERS,
    lines: (/** @type {number} */ machine) => (machine === 0 ? undefined : LINES),
    oneWayMs: withLatency ? LINES.oneWayMs : 0,
  };
  const run = await withMachines(machines, (network) =>
    withScratch((folder) => runNullWorkers({ ...plan, corpus: writeText(folder), network }, path.join(folder, 'run'))),
  );
  const sum = (/** @type {readonly number[]} */ values) => values.reduce((a, b) => a + b, 0);
  return { utilisation: 1 - sum(run.overheadMs) / sum(run.roundMs), roundMs: sum(run.roundMs) / run.roundMs.length };
}

/** Each stream needs as many windows as a round has steps, and the sonnets are too short for that. @param {string} folder */
function writeText(folder) {
  const file = path.join(folder, 'letters.txt');
  const alphabet = Array.from({ length: VOCABULARY }, (_, i) => String.fromCodePoint(58 + i)).join('');
  fs.writeFileSync(file, alphabet.repeat(4_000));
  return file;
}

/** @param {{ localSteps: number }} kind */
const nameOf = ({ localSteps }) => (localSteps > 1 ? `${localSteps} local steps` : 'exact rounds');
const percent = (/** @type {number} */ part) => `${decimal(100 * part, 1)} %`;
const seconds = (/** @type {number} */ ms) => `${decimal(ms / 1_000, 2)} s`;
const mb = (/** @type {number} */ bytes) => decimal(bytes / 1e6, 2);

/** @param {readonly Simulated[]} simulated */
function simulatedTable(simulated) {
  return {
    caption: 'Twenty workers in simulated time',
    head: ['Rounds', 'Tracks a worker', 'Codec', 'Utilisation', 'A round', 'MB sent, of a worker', 'MB received', 'chars/s, all'],
    rows: simulated.map(({ plan, figures }) => [
      nameOf(plan),
      plan.localSteps > 1 ? String(plan.tracks) : '–',
      plan.codec,
      percent(figures.utilisation),
      seconds(figures.roundMs),
      mb(figures.sentBytes),
      mb(figures.receivedBytes),
      decimal((figures.characters * 1_000) / figures.roundMs, 0),
    ]),
  };
}

/** @param {readonly Compared[]} compared @param {boolean} withLatency */
function comparedTable(compared, withLatency) {
  const lines = `${LINES.up} Mbit/s up and ${LINES.down} down${withLatency ? `, ${LINES.oneWayMs} ms` : ''}`;
  return {
    caption: `Three workers with ${lines}: processes in network namespaces, and simulated`,
    head: ['Rounds', 'Utilisation', 'simulated', 'A round', 'simulated'],
    rows: compared.map((each) => [
      nameOf(each),
      percent(each.real.utilisation),
      percent(each.simulated.utilisation),
      seconds(each.real.roundMs),
      seconds(each.simulated.roundMs),
    ]),
  };
}

/** @param {readonly Simulated[]} simulated */
function busyGoal(simulated) {
  const best = Math.max(...simulated.filter(({ plan }) => plan.localSteps > 1).map(({ figures }) => figures.utilisation));
  const exact = simulated.find(({ plan }) => plan.localSteps === 1)?.figures.utilisation ?? NaN;
  return [
    {
      text: `local rounds keep twenty simulated workers busy ${percent(best)} of the time, exact ones ${percent(exact)} (goal: at least ${BUSY_GOAL * 100} %)`,
      met: best >= BUSY_GOAL,
      binding: false,
    },
  ];
}

/** @param {Compared} each */
function agreementGoal(each) {
  const ratio = each.real.utilisation / each.simulated.utilisation;
  return {
    text: `${nameOf(each)}: the utilisation of processes is ${decimal(ratio, 2)}x of the simulated one (goal: within a tenth)`,
    met: Math.abs(ratio - 1) <= AGREEMENT_GOAL,
    binding: false,
  };
}
