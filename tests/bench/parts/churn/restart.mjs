/** The coordinator is killed and resumed at once. */
import { median } from '../../contestant.mjs';
import { withCluster } from '../../cluster.mjs';
import { ms } from '../../report.mjs';
import { withScratch } from '../../runs.mjs';
import { endless, hireAll, isRound, medianOf } from './common.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').Member} Member */
/** @typedef {{ allMs: number, startMs: number, backoffMs: number, joinMs: number }} Restart */

const MAX_MS = 3_000;
const DEADLINE_MS = 300_000;

/** @param {import('../../report.mjs').Options} options @returns {Promise<import('../../report.mjs').Measured>} */
export async function restart({ quick, progress }) {
  const times = quick ? 1 : 5;
  /** @type {Restart[]} */
  const restarts = [];
  for (let i = 0; i < times; i++) {
    progress(`${i + 1} of ${times}`);
    restarts.push(
      await withScratch((out) => withCluster([...endless(out), '--checkpoint-every=10'], DEADLINE_MS, crashAndResume)),
    );
  }
  const own = restarts.map(({ startMs, joinMs }) => startMs + joinMs);
  return {
    tables: [
      {
        caption: 'Coordinator killed (SIGKILL) and started again with --resume: time until the first new round',
        head: ['Total', 'Until it listens', 'From then until a worker calls', 'From the first call to the first round'],
        rows: [
          [
            medianOf(
              restarts.map(({ allMs }) => allMs),
              ms,
            ),
            medianOf(
              restarts.map(({ startMs }) => startMs),
              ms,
            ),
            medianOf(
              restarts.map(({ backoffMs }) => backoffMs),
              ms,
            ),
            medianOf(
              restarts.map(({ joinMs }) => joinMs),
              ms,
            ),
          ],
        ],
      },
    ],
    goals: [
      {
        text: `first new round ${ms(median(own))} after the coordinator was killed, without the workers' backoff (goal: at most ${ms(MAX_MS)})`,
        met: median(own) <= MAX_MS,
        binding: false,
      },
    ],
    notes: [
      'Workers that cannot connect wait 0.25 to 0.5 s, then twice as long each time, up to 30 s. That wait is counted separately.',
    ],
    data: { restarts },
  };
}

/** @param {Cluster} cluster @returns {Promise<Restart>} */
async function crashAndResume(cluster) {
  const members = await hireAll(cluster, 2);
  await cluster.until(({ event }) => event === 'checkpoint');
  const killedMs = cluster.crash();
  cluster.resume();
  const { atMs: listeningMs } = await cluster.until(({ event }) => event === 'listening', killedMs);
  const { atMs: roundMs } = await cluster.until(isRound, listeningMs);
  const calls = members.flatMap(({ log }) => log.filter(({ kind, atMs }) => kind === 'connecting' && atMs > killedMs));
  const welcomes = members.flatMap(({ log }) => log.filter(({ kind, atMs }) => kind === 'welcome' && atMs > killedMs));
  const welcomeMs = Math.min(...welcomes.map(({ atMs }) => atMs));
  // The call that was answered first is the last call before the answer; a call may come just before the coordinator listens.
  const callMs = Math.max(listeningMs, ...calls.map(({ atMs }) => atMs).filter((atMs) => atMs <= welcomeMs));
  return {
    allMs: roundMs - killedMs,
    startMs: listeningMs - killedMs,
    backoffMs: callMs - listeningMs,
    joinMs: roundMs - callMs,
  };
}
