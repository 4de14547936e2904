/** What it costs when workers come, go, freeze and differ in speed, and when the coordinator is killed. */
import { canDisturb } from '../cluster.mjs';
import { cost } from './churn/cost.mjs';
import { exactness } from './churn/exactness.mjs';
import { frozen } from './churn/frozen.mjs';
import { mixed } from './churn/mixed.mjs';
import { restart } from './churn/restart.mjs';
import { throughput } from './churn/throughput.mjs';

export const title = 'Under churn';
export const about =
  'Coordinator and workers are processes of their own, with engine wasm. Each worker is bound to a core in turn, so that a ' +
  'starting process disturbs as few others as possible. Workers are killed (SIGKILL), frozen (SIGSTOP) and replaced during ' +
  'the run. Times are taken where the JSON lines of the processes are read. When a worker began with a lease follows from ' +
  'its own `computed` lines.';

/** @typedef {import('../report.mjs').Measured} Measured */

const SECTIONS = { throughput, frozen, restart, mixed, exactness, cost };

/** @param {import('../report.mjs').Options} options @returns {Promise<import('../report.mjs').Result>} */
export async function measure({ quick, progress }) {
  if (!canDisturb) return { skipped: 'this part finds and freezes processes in ways that only Linux has' };
  // Chooses sections, for someone who works on one of them.
  const wanted = (process.env.TROUPE_BENCH_CHURN ?? Object.keys(SECTIONS).join(',')).split(',');
  /** @type {[string, Measured][]} */
  const results = [];
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (wanted.includes(name)) results.push([name, await section({ quick, progress: (text) => progress(`${name}: ${text}`) })]);
  }
  return {
    tables: results.flatMap(([, { tables }]) => tables),
    goals: results.flatMap(([, { goals }]) => goals),
    notes: results.flatMap(([, { notes }]) => notes),
    data: Object.fromEntries(results.map(([name, { data }]) => [name, data])),
  };
}
