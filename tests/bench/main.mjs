/** `npm run bench`: the figures of docs/benchmarks.md. */
import os from 'node:os';
import { parseArgs } from 'node:util';
import { BenchError } from './bench-error.mjs';
import { writeDocument } from './document.mjs';
import { interruption } from './interruption.mjs';
import * as attacks from './parts/attacks.mjs';
import * as audits from './parts/audits.mjs';
import * as browser from './parts/browser.mjs';
import * as churn from './parts/churn.mjs';
import * as codec from './parts/codec.mjs';
import * as communication from './parts/communication.mjs';
import * as curves from './parts/curves.mjs';
import * as engine from './parts/engine.mjs';
import * as evaluation from './parts/eval.mjs';
import * as exported from './parts/export.mjs';
import * as gpu from './parts/gpu.mjs';
import * as hostile from './parts/hostile.mjs';
import * as joiners from './parts/joiners.mjs';
import * as layerNorm from './parts/layer-norm.mjs';
import * as crowd from './parts/crowd.mjs';
import * as links from './parts/links.mjs';
import * as local from './parts/local.mjs';
import * as manyWorkers from './parts/many-workers.mjs';
import * as peers from './parts/peers.mjs';
import * as quality from './parts/quality.mjs';
import * as qualityTorch from './parts/quality-torch.mjs';
import * as race from './parts/race.mjs';
import * as recipeRace from './parts/recipe-race.mjs';
import * as scaling from './parts/scaling.mjs';
import * as slowWorkers from './parts/slow-workers.mjs';
import * as tfjs from './parts/tfjs.mjs';
import * as threads from './parts/threads.mjs';
import * as torch from './parts/torch.mjs';
import * as volunteer from './parts/volunteer.mjs';
import { renderResult } from './report.mjs';

/** @type {ReadonlyMap<string, import('./report.mjs').Part>} */
const PARTS = new Map(
  Object.entries({
    engine,
    torch,
    threads,
    tfjs,
    gpu,
    scaling,
    communication,
    peers,
    crowd,
    codec,
    local,
    links,
    joiners,
    'many-workers': manyWorkers,
    'slow-workers': slowWorkers,
    churn,
    hostile,
    audits,
    attacks,
    browser,
    volunteer,
    export: exported,
    curves,
    eval: evaluation,
    'layer-norm': layerNorm,
    race,
    'recipe-race': recipeRace,
    quality,
    'quality-torch': qualityTorch,
  }),
);

const USAGE = `Usage: npm run bench -- [PART ...] [--quick] [--json] [--write]

Parts (default: all):
${[...PARTS].map(([name, { title }]) => `  ${name.padEnd(14)}${title}`).join('\n')}

  --quick  take tiny repetitions: checks that everything works, not how fast it is
  --json   print one JSON object with all figures on standard output
  --write  put the figures into docs/benchmarks.md
  --help   print this help

The exit code is 1 if a loss is wrong (churn, browser, curves, eval, recipe-race), a liar is not found (hostile), a join with the right token fails (attacks), an int8 contribution is too long (codec), a page is too large (export) or a part fails. Missing a speed goal is not a failure.
`;

/** Other programs that cause more load than this disturb the figures. */
const DISTURBING_LOAD = 0.5;
const INTERRUPTED_EXIT = 130;

/** @param {string[]} argv */
function readArguments(argv) {
  const usage = (/** @type {string} */ message) =>
    new BenchError('usage', message, 'npm run bench -- --help lists parts and flags.');
  const flag = /** @type {const} */ ({ type: 'boolean', default: false });
  let parsed;
  try {
    parsed = parseArgs({ args: argv, allowPositionals: true, options: { quick: flag, json: flag, write: flag, help: flag } });
  } catch (error) {
    throw usage(/** @type {Error} */ (error).message);
  }
  const { values, positionals } = parsed;
  const unknown = positionals.find((name) => !PARTS.has(name));
  if (unknown !== undefined) throw usage(`there is no part "${unknown}"`);
  if (values.quick && values.write) throw usage('the figures of --quick mean nothing and are not written');
  const names = positionals.length === 0 ? [...PARTS.keys()] : positionals;
  return { ...values, parts: [...PARTS].filter(([name]) => names.includes(name)) };
}

/** The machine that the figures belong to. */
function describeMachine() {
  const { length: cores, 0: first } = os.cpus();
  const memory = Math.round(os.totalmem() / 2 ** 30);
  const date = new Date().toISOString().slice(0, 10);
  return `${first?.model.trim() ?? 'unknown CPU'}, ${cores} cores, ${memory} GiB, ${os.type()} ${os.machine()}, Node ${process.version}, ${date}`;
}

/**
 * Reports a part that fails, so that the others still run.
 * @param {import('./report.mjs').Part} part
 * @param {import('./report.mjs').Options} options
 * @returns {Promise<import('./report.mjs').Result & { broken?: boolean }>}
 */
async function measureOne(part, options) {
  try {
    return await part.measure(options);
  } catch (error) {
    if (interruption.aborted || !(error instanceof BenchError)) throw error;
    return { skipped: `${error.message}. ${error.remedy}`, broken: true };
  }
}

/** @param {string[]} argv @returns {Promise<number>} exit code */
async function main(argv) {
  const { parts, quick, json, write, help } = readArguments(argv);
  if (help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const machine = describeMachine();
  const say = (/** @type {string} */ text) => (json ? process.stderr : process.stdout).write(`${text}\n`);
  say(`${machine}\n`);
  const [load] = os.loadavg();
  if (load > DISTURBING_LOAD)
    say(`The machine is busy (load ${load.toFixed(1)}). The figures will be worse than they should be.\n`);

  /** @type {Map<string, import('./report.mjs').Result>} */
  const results = new Map();
  let broken = false;
  for (const [name, part] of parts) {
    const progress = (/** @type {string} */ text) => process.stderr.write(`${name}: ${text}\n`);
    const result = await measureOne(part, { quick, progress });
    broken ||= result.broken === true;
    results.set(name, result);
    say(renderResult(part.title, result));
  }
  const measured = new Map([...results].flatMap(([name, result]) => ('skipped' in result ? [] : [[name, result]])));
  if (json) process.stdout.write(`${JSON.stringify({ machine, quick, results: Object.fromEntries(results) })}\n`);
  if (write) say(`Written to ${await writeDocument(PARTS, measured, machine)}`);
  const failed = [...measured.values()].some(({ goals }) => goals.some(({ met, binding }) => binding && !met));
  return failed || broken ? 1 : 0;
}

/** @param {Error} error @returns {number} exit code */
function complain(error) {
  if (interruption.aborted) {
    process.stderr.write('interrupted\n');
    return INTERRUPTED_EXIT;
  }
  const explained = error instanceof BenchError;
  process.stderr.write(explained ? `${error.message}\n${error.remedy}\n` : `${error.stack}\n`);
  return explained && error.code === 'usage' ? 2 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.exitCode = complain(/** @type {Error} */ (error));
}
