/** Every few seconds, one worker is killed and replaced. */
import { setTimeout as sleep } from 'node:timers/promises';
import { characters } from '../../configs.mjs';
import { median } from '../../contestant.mjs';
import { withCluster } from '../../cluster.mjs';
import { count, decimal, ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { coreOf, endless, ENGINE, hireAll, passRounds, rateOf, roundsWithin, SIZE, takenOverMs } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').Member} Member */
/** @typedef {{ full: number, less: number, actual: number, missing: number, expected: number, lost: number, roundMs: number, takenOver: number[] }} Turn */
/** @typedef {{ turns: number, steadyMs: number, kills: number, everyMs: number }} Plan */

const WORKERS = [2, 3];
const MAX_LOST = 0.1;
const DEADLINE_MS = 300_000;

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function throughput({ quick, progress }) {
  const plan = quick
    ? { turns: 1, steadyMs: 3_000, kills: 1, everyMs: 5_000 }
    : { turns: 3, steadyMs: 6_000, kills: 4, everyMs: 5_000 };
  /** @type {Map<number, Turn[]>} */
  const turns = new Map(WORKERS.map((workers) => [workers, []]));
  for (let turn = 0; turn < plan.turns; turn++) {
    for (const workers of WORKERS) {
      progress(`${workers} workers, turn ${turn + 1} of ${plan.turns}`);
      turns.get(workers)?.push(await measureTurn(plan, workers));
    }
  }
  const results = [...turns];
  return {
    tables: [tableOf(results), takeOverTable(results)],
    goals: results.flatMap(([workers, all]) => goalsOf(workers, all)),
    notes: [
      'How the share of a missing worker is counted: the undisturbed rates with all workers and with one less are ' +
        'measured in the same run. The expected rate is the first while all are ready, and the second from a SIGKILL ' +
        'until the replacement is ready. Lost beyond that share = 1 - measured / expected. With more workers than cores, ' +
        'one worker less hardly lowers the rate, because the others use its core.',
    ],
    data: { ...SIZE, ...plan, results },
  };
}

/** @param {Plan} plan @param {number} workers @returns {Promise<Turn>} */
function measureTurn(plan, workers) {
  return withScratch((out) =>
    withCluster(endless(out), DEADLINE_MS, async (cluster) => {
      const members = await hireAll(cluster, workers);
      const full = await steadyRate(cluster, plan.steadyMs);
      members[workers - 1].kill();
      await passRounds(cluster, 5);
      const less = await steadyRate(cluster, plan.steadyMs);
      members[workers - 1] = cluster.hire({ engine: ENGINE, core: coreOf(workers - 1) });
      await cluster.ready(members[workers - 1]);
      await passRounds(cluster, 10);
      return { full, less, ...(await killInTurn(cluster, members, plan, { full, less })) };
    }),
  );
}

/** @param {Cluster} cluster @param {number} forMs */
async function steadyRate(cluster, forMs) {
  const fromMs = performance.now();
  await sleep(forMs);
  return rateOf(roundsWithin(cluster, fromMs, performance.now()));
}

/** @param {Cluster} cluster @param {Member[]} members @param {Plan} plan @param {{ full: number, less: number }} rates */
async function killInTurn(cluster, members, { kills, everyMs }, { full, less }) {
  const fromMs = performance.now();
  /** @type {{ victim: Member, killedMs: number, readyMs: number }[]} */
  const losses = [];
  for (let kill = 0; kill < kills; kill++) {
    const at = kill % members.length;
    const victim = members[at];
    const killedMs = victim.kill();
    members[at] = cluster.hire({ engine: ENGINE, core: coreOf(at) });
    const { atMs } = await cluster.ready(members[at], killedMs);
    losses.push({ victim, killedMs, readyMs: atMs });
    await sleep(fromMs + (kill + 1) * everyMs - performance.now());
  }
  const toMs = performance.now();
  const rounds = roundsWithin(cluster, fromMs, toMs);
  const missingMs = losses.reduce((sum, { killedMs, readyMs }) => sum + readyMs - killedMs, 0);
  const expected = (full * (toMs - fromMs - missingMs) + less * missingMs) / 1000;
  const actual = rounds.length * characters(SIZE);
  return {
    actual: (actual * 1000) / (toMs - fromMs),
    expected: (expected * 1000) / (toMs - fromMs),
    missing: missingMs / (toMs - fromMs),
    lost: 1 - actual / expected,
    roundMs: (characters(SIZE) / full) * 1000,
    takenOver: losses.map(({ victim, killedMs }) => takenOverMs(cluster, victim, killedMs) ?? Infinity),
  };
}

/** @param {readonly (readonly [number, readonly Turn[]])[]} results */
function tableOf(results) {
  const middle = (/** @type {readonly Turn[]} */ turns, /** @type {(turn: Turn) => number} */ of) => median(turns.map(of));
  return {
    caption: 'Throughput with one worker killed every 5 s and replaced, chars/s (medians of turns)',
    head: [
      'Workers',
      'Undisturbed',
      'With one worker less',
      'Time with one worker missing',
      'Expected',
      'Measured',
      'Lost beyond the share, each turn',
    ],
    rows: results.map(([workers, turns]) => [
      String(workers),
      count(middle(turns, ({ full }) => full)),
      count(middle(turns, ({ less }) => less)),
      percent(middle(turns, ({ missing }) => missing)),
      count(middle(turns, ({ expected }) => expected)),
      count(middle(turns, ({ actual }) => actual)),
      turns.map(({ lost }) => percent(lost)).join(', '),
    ]),
  };
}

/** @param {readonly (readonly [number, readonly Turn[]])[]} results */
function takeOverTable(results) {
  return {
    caption: 'From SIGKILL until other workers compute all its streams',
    head: ['Workers', 'Round', 'Median', 'Longest'],
    rows: results.map(([workers, turns]) => {
      const times = turns.flatMap(({ takenOver }) => takenOver);
      return [String(workers), ms(median(turns.map(({ roundMs }) => roundMs))), ms(median(times)), ms(Math.max(...times))];
    }),
  };
}

/** @param {number} workers @param {readonly Turn[]} turns */
function goalsOf(workers, turns) {
  const lost = median(turns.map((turn) => turn.lost));
  const longest = Math.max(...turns.flatMap(({ takenOver }) => takenOver));
  const bound = 2 * median(turns.map(({ roundMs }) => roundMs)) + 1_000;
  return [
    {
      text: `${workers} workers, one killed every 5 s: ${percent(lost)} of the throughput lost beyond its share (goal: at most ${percent(MAX_LOST)})`,
      met: lost <= MAX_LOST,
      binding: false,
    },
    {
      text: `${workers} workers: streams of a killed worker are computed elsewhere after at most ${ms(longest)} (goal: two rounds and 1 s, ${ms(bound)})`,
      met: longest <= bound,
      binding: false,
    },
  ];
}

function percent(/** @type {number} */ value) {
  return `${decimal(100 * value, 1)} %`;
}
