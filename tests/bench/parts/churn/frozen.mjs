/** A frozen worker: its links stay open, and only the deadline of its lease reveals it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../../contestant.mjs';
import { withCluster } from '../../cluster.mjs';
import { ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { endless, hireAll, medianOf, passRounds, SIZE, takenOverMs } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Member} Member */

const FROZEN_MS = 3_000;
const DEADLINE_MS = 240_000;
/** About half of its share. */
const QUARTER = SIZE.streams / 4;
const TIMEOUT_MS = 30_000;
/** The deadline that the run core gives a worker of steady speed: 1.5 times the expected time plus 250 ms, checked every 100 ms. */
const allowanceMs = (/** @type {number} */ leaseMs) => 1.5 * leaseMs + 250 + 100;

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function frozen({ quick, progress }) {
  const times = quick ? 1 : 5;
  const { after, backMs, leaseMs, roundMs } = await withScratch((out) =>
    withCluster(endless(out), DEADLINE_MS, async (cluster) => {
      const [, victim] = await hireAll(cluster, 2);
      /** @type {number[]} */
      const after = [];
      /** @type {number[]} */
      const backMs = [];
      const leases = victim.computed.slice(-10).map(({ startMs, endMs }) => endMs - startMs);
      for (let i = 0; i < times; i++) {
        progress(`${i + 1} of ${times}`);
        const frozenMs = victim.freeze();
        await sleep(FROZEN_MS);
        victim.thaw();
        backMs.push(await untilBack(victim, performance.now()));
        await passRounds(cluster, 10);
        after.push(takenOverMs(cluster, victim, frozenMs) ?? Infinity);
      }
      const rounds = cluster.events.flatMap((event) => (event.event === 'round' ? [event.roundMs] : []));
      return { after, backMs, leaseMs: median(leases), roundMs: median(rounds) };
    }),
  );
  const bound = allowanceMs(leaseMs) + roundMs;
  const usual = median(after);
  return {
    tables: [
      {
        caption: `One of two workers frozen for ${FROZEN_MS / 1000} s: time until the other computes all its streams`,
        head: [
          'Round',
          'Time of its lease',
          'Deadline, about',
          'Streams computed elsewhere after',
          'From SIGCONT until it has a quarter of all streams again',
        ],
        rows: [[ms(roundMs), ms(leaseMs), ms(allowanceMs(leaseMs)), medianOf(after, ms), medianOf(backMs, ms)]],
      },
    ],
    goals: [
      {
        text: `streams of a frozen worker are computed elsewhere after ${ms(usual)} (goal: its deadline and a round, ${ms(bound)})`,
        met: usual <= bound,
        binding: false,
      },
    ],
    notes: [],
    data: { after, backMs, leaseMs, roundMs, frozenMs: FROZEN_MS },
  };
}

/** Time until the run relies on it again; a late lease counts against it for a while. @param {Member} member @param {number} sinceMs */
async function untilBack({ computed }, sinceMs) {
  while (performance.now() < sinceMs + TIMEOUT_MS) {
    // A lease that began earlier may end only now; it does not count.
    const lease = computed.find(({ startMs, streams }) => startMs > sinceMs && streams >= QUARTER);
    if (lease !== undefined) return lease.startMs - sinceMs;
    await sleep(10);
  }
  return Infinity;
}
