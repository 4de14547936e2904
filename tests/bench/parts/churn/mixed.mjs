/** A fast worker and one that gets a tenth of its core. */
import { clearInterval, setInterval } from 'node:timers';
import { setTimeout as sleep } from 'node:timers/promises';
import { characters, describeSize } from '../../configs.mjs';
import { median } from '../../contestant.mjs';
import { withCluster } from '../../cluster.mjs';
import { count, decimal, ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { coreOf, endless, ENGINE, passRounds, rateOf, roundsWithin } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Member} Member */
/** @typedef {{ fast: number, slow: number, both: number }} Rates chars/s */

/** @type {import('../../configs.mjs').Size} */
const SIZE = { layers: 1, hidden: 256, streams: 32, window: 64 };
const MAX_RATIO = 1.15;
const SLOWNESS = 10;
/** Simulates a slow machine: it computes for one tick and stands still for nine. */
const PERIOD_MS = 60;
const DEADLINE_MS = 240_000;

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function mixed({ quick, progress }) {
  const turns = quick ? 1 : 3;
  const forMs = quick ? 2_000 : 8_000;
  /** @type {Rates[]} */
  const rates = [];
  for (let turn = 0; turn < turns; turn++) {
    progress(`turn ${turn + 1} of ${turns}`);
    const fast = await rateWith({ fast: 1, slow: 0 }, forMs);
    const slow = await rateWith({ fast: 0, slow: 1 }, quick ? 4_000 : forMs);
    rates.push({ fast, slow, both: await rateWith({ fast: 1, slow: 1 }, forMs) });
  }
  const ratios = rates.map(({ fast, slow, both }) => (fast + slow) / both);
  const middle = (/** @type {(rates: Rates) => number} */ of) => median(rates.map(of));
  const chars = characters(SIZE) * 1000;
  return {
    tables: [
      {
        caption: `A fast worker and one with a tenth of its speed, ${describeSize(SIZE)}`,
        head: ['Fast worker alone, chars/s', 'Slow worker alone, chars/s', 'Ideal round', 'Round', 'Ratio, each turn'],
        rows: [
          [
            count(middle(({ fast }) => fast)),
            count(middle(({ slow }) => slow)),
            ms(chars / middle(({ fast, slow }) => fast + slow)),
            ms(chars / middle(({ both }) => both)),
            ratios.map((ratio) => decimal(ratio, 2)).join(', '),
          ],
        ],
      },
    ],
    goals: [
      {
        text: `with one worker slowed ${SLOWNESS}x, a round takes ${decimal(median(ratios), 2)}x the ideal for the sum of their speeds (goal: at most ${MAX_RATIO}x)`,
        met: median(ratios) <= MAX_RATIO,
        binding: false,
      },
    ],
    notes: [
      `The slow worker is stopped and continued (SIGSTOP, SIGCONT) every ${PERIOD_MS} ms, so that it computes a tenth of the time.`,
    ],
    data: { ...SIZE, rates, ratios },
  };
}

/** chars/s of a separate run. @param {{ fast: number, slow: number }} team @param {number} forMs */
function rateWith({ fast, slow }, forMs) {
  return withScratch((out) =>
    withCluster(endless(out, SIZE), DEADLINE_MS, async (cluster) => {
      await cluster.until(({ event }) => event === 'listening', 0);
      const members = Array.from({ length: fast + slow }, (_, i) =>
        cluster.hire({ engine: ENGINE, core: coreOf(fast === 0 ? 1 : i) }),
      );
      for (const member of members) await cluster.ready(member);
      const slowed = slow > 0 ? slowDown(members[fast]) : () => {};
      try {
        await passRounds(cluster, fast > 0 ? 60 : 4);
        const fromMs = performance.now();
        await sleep(forMs);
        return rateOf(roundsWithin(cluster, fromMs, performance.now()), SIZE);
      } finally {
        slowed();
      }
    }),
  );
}

/** @param {Member} member @returns {() => void} stops that */
function slowDown(member) {
  let tick = 0;
  const timer = setInterval(() => {
    if (tick % SLOWNESS === 0) member.thaw();
    if (tick % SLOWNESS === 1) member.freeze();
    tick++;
  }, PERIOD_MS / SLOWNESS);
  return () => {
    clearInterval(timer);
    member.thaw();
  };
}
