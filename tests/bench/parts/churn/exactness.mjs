/** The result of a run whose workers are killed, against that of an undisturbed run. */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { characters, describeSize } from '../../configs.mjs';
import { sha256, withCluster } from '../../cluster.mjs';
import { decimal } from '../../report.mjs';
import { runFlags, withScratch } from '../../runs.mjs';
import { coreOf, ENGINE } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').TimedEvent} TimedEvent */
/** @typedef {{ name: string, workers: number, kills: boolean, reproducible: boolean }} Case */
/** @typedef {{ loss: number, sha: string, killed: number }} Outcome */

/** @type {import('../../configs.mjs').Size} */
const SIZE = { layers: 1, hidden: 256, streams: 32, window: 64 };
const CORPUS = 'sonnets';
const LIMIT = 1e-3;
const EVERY_MS = 5_000;
const DEADLINE_MS = 300_000;
/** @type {readonly Case[]} */
const CASES = [
  { name: 'undisturbed', workers: 2, kills: false, reproducible: false },
  { name: 'one killed every 5 s', workers: 2, kills: true, reproducible: false },
  { name: 'undisturbed, reproducible', workers: 1, kills: false, reproducible: true },
  { name: 'one killed every 5 s, reproducible', workers: 2, kills: true, reproducible: true },
];

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function exactness({ quick, progress }) {
  const rounds = quick ? 60 : 500;
  /** @type {Outcome[]} */
  const outcomes = [];
  for (const each of CASES) {
    progress(each.name);
    outcomes.push(await outcomeOf(each, rounds, quick ? 1_500 : EVERY_MS));
  }
  const [calm, disturbed, exact, exactDisturbed] = outcomes;
  const difference = Math.abs(calm.loss - disturbed.loss);
  return {
    tables: [
      {
        caption: `Validation loss after ${rounds} rounds, ${describeSize(SIZE)} (${rounds * characters(SIZE)} characters of ${CORPUS})`,
        head: ['Run', 'Workers', 'Killed', 'nats/char', 'SHA-256 of the checkpoint'],
        rows: CASES.map(({ name, workers }, i) => [
          name,
          String(workers),
          String(outcomes[i].killed),
          decimal(outcomes[i].loss, 6),
          `${outcomes[i].sha.slice(0, 12)}…`,
        ]),
      },
    ],
    goals: [
      {
        text: `validation loss with workers killed differs by ${difference.toExponential(1)} nats/char (limit: ${LIMIT})`,
        met: difference < LIMIT,
        binding: true,
      },
      {
        text: `a reproducible run gives ${exact.sha === exactDisturbed.sha ? 'the same' : 'another'} checkpoint when workers are killed`,
        met: exact.sha === exactDisturbed.sha,
        binding: true,
      },
    ],
    notes: [],
    data: { ...SIZE, rounds, outcomes },
  };
}

/** @param {Case} wanted @param {number} rounds @param {number} everyMs @returns {Promise<Outcome>} */
function outcomeOf({ workers, kills, reproducible }, rounds, everyMs) {
  return withScratch((out) => {
    const flags = [...runFlags(CORPUS, SIZE, out), `--rounds=${rounds}`, ...(reproducible ? ['--reproducible'] : [])];
    return withCluster(flags, DEADLINE_MS, async (cluster) => {
      await cluster.until(({ event }) => event === 'listening', 0);
      const over = cluster.until(({ event }) => event === 'finished', 0);
      const killed = await work(cluster, workers, kills ? everyMs : undefined, over);
      const finished = /** @type {Extract<TimedEvent, { event: 'finished' }>} */ (await over);
      return { loss: finished.validationLoss ?? NaN, sha: sha256(path.resolve(finished.checkpoint)), killed };
    });
  });
}

/** @param {Cluster} cluster @param {number} workers @param {number | undefined} everyMs @param {Promise<TimedEvent>} over @returns the number of workers killed */
async function work(cluster, workers, everyMs, over) {
  const hire = (/** @type {number} */ at) => cluster.hire({ engine: ENGINE, core: coreOf(at) });
  const members = Array.from({ length: workers }, (_, i) => hire(i));
  if (everyMs === undefined) return 0;
  for (const member of members) await cluster.ready(member);
  let killed = 0;
  for (;;) {
    if ((await Promise.race([over, sleep(everyMs)])) !== undefined) return killed;
    const at = killed++ % workers;
    members[at].kill();
    members[at] = hire(at);
  }
}
