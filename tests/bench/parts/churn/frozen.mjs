/** A worker that is frozen: its links stay open, nobody is told, and only the deadline of its lease gives it away. */
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../../contestant.mjs';
import { withCluster } from '../../cluster.mjs';
import { ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { endless, hireAll, medianOf, passRounds, takenOverMs } from './common.mjs';

const FROZEN_MS = 3_000;
const DEADLINE_MS = 240_000;
/** Of a lease, as the run core has it for a worker of steady speed: half as long again as expected, and 250 ms; it looks every 100 ms. */
const allowanceMs = (/** @type {number} */ leaseMs) => 1.5 * leaseMs + 250 + 100;

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function frozen({ quick, progress }) {
  const times = quick ? 1 : 5;
  const { after, leaseMs, roundMs } = await withScratch((out) =>
    withCluster(endless(out), DEADLINE_MS, async (cluster) => {
      const [, victim] = await hireAll(cluster, 2);
      /** @type {number[]} */
      const after = [];
      const leases = victim.computed.slice(-10).map(({ startMs, endMs }) => endMs - startMs);
      for (let i = 0; i < times; i++) {
        progress(`${i + 1} of ${times}`);
        const frozenMs = victim.freeze();
        await sleep(FROZEN_MS);
        victim.thaw();
        // Until it has caught up and is relied upon as before.
        await passRounds(cluster, 20);
        after.push(takenOverMs(cluster, victim, frozenMs) ?? Infinity);
      }
      const rounds = cluster.events.flatMap((event) => (event.event === 'round' ? [event.roundMs] : []));
      return { after, leaseMs: median(leases), roundMs: median(rounds) };
    }),
  );
  const bound = allowanceMs(leaseMs) + roundMs;
  const longest = Math.max(...after);
  return {
    tables: [
      {
        caption: `A worker of two frozen for ${FROZEN_MS / 1000} s: until all its streams are computed elsewhere`,
        head: ['A round', 'Its lease takes', 'Deadline, about', 'Streams elsewhere after'],
        rows: [[ms(roundMs), ms(leaseMs), ms(allowanceMs(leaseMs)), medianOf(after, ms)]],
      },
    ],
    goals: [
      {
        text: `streams of a frozen worker are computed elsewhere after ${ms(longest)} at most (goal: its deadline and a round, ${ms(bound)})`,
        met: longest <= bound,
        binding: false,
      },
    ],
    notes: [],
    data: { after, leaseMs, roundMs, frozenMs: FROZEN_MS },
  };
}
