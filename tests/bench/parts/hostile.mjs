/** What hostile volunteers do to a run: whether they are found, when, and what they change. */
import { fileURLToPath } from 'node:url';
import { COORDINATOR, NODE_FLAGS, start } from '../communication/null-run.mjs';
import { decimal } from '../report.mjs';
import { withScratch } from '../runs.mjs';
import { LIES } from './hostile/lies.mjs';

export const title = 'Hostile volunteers';
export const about =
  'A real coordinator and three volunteers, each a process (wasm, one thread), train 1x128 on the sonnets for 300 rounds (32 streams of 64 characters, Adam). ' +
  'One of the three lies: from its first lease, or after 50 honest ones. "Found" is the round in which it was banned, and "back to" the checkpoint ' +
  'to which the run then went back, if anything of it had counted. The loss is that of the validation after the last round.';

const VOLUNTEER = fileURLToPath(new URL('./hostile/volunteer.mjs', import.meta.url));
const VOLUNTEERS = 3;
const ROUNDS = 300;
const TURNING = 50;
const TOLERANCE = 0.02;
const TOKEN = 'volunteers-of-the-bench';

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const rounds = quick ? 30 : ROUNDS;
  const names = Object.keys(LIES).filter((name) => name !== 'honest');
  const cases = (quick ? ['sign flipped'] : names).map((lie) => ({ lie, after: 0 }));
  const turning = (quick ? [] : ['sign flipped', 'flipped x100', 'end states of 3e38']).map((lie) => ({ lie, after: TURNING }));
  progress('honest');
  const honest = await withScratch((out) => play('honest', 0, rounds, out));
  const results = [];
  for (const { lie, after } of [...cases, ...turning]) {
    progress(after > 0 ? `${lie}, after ${after} honest leases` : lie);
    results.push({ lie, after, ...(await withScratch((out) => play(lie, after, rounds, out))) });
  }
  return {
    tables: [tableOf(honest, results)],
    goals: goalsOf(honest, results),
    notes: [],
    data: { honest, results },
  };
}

/** @typedef {{ loss: number, lied: number | undefined, found: number | undefined, backTo: number | undefined, bans: number }} Outcome */

/**
 * @param {string} lie
 * @param {number} after
 * @param {number} rounds
 * @param {string} out
 * @returns {Promise<Outcome>}
 */
async function play(lie, after, rounds, out) {
  const flags = [
    '--layers=1',
    '--hidden=128',
    '--batch=32',
    '--window=64',
    `--rounds=${rounds}`,
    '--eval-every=0',
    `--out=${out}/run`,
  ];
  const coordinator = start([...NODE_FLAGS, COORDINATOR, '--json', '--port=0', `--volunteer-token=${TOKEN}`, ...flags]);
  /** @type {ReturnType<typeof start>[]} */
  const volunteers = [];
  /** @type {Outcome} */
  const outcome = { loss: NaN, lied: undefined, found: undefined, backTo: undefined, bans: 0 };
  let [round, lives] = [0, 0];
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') {
        for (let i = 0; i < VOLUNTEERS; i++) {
          const args = [`${event.address}/control`, `v${i}`, i === 0 ? lie : 'honest', String(after)];
          const volunteer = start([...NODE_FLAGS, VOLUNTEER, ...args], [], { TROUPE_TOKEN: TOKEN });
          volunteers.push(volunteer);
          if (i > 0 || lie === 'honest') continue;
          // It rejects when the volunteer ends without a lie.
          void volunteer.read((said) => said.lies === true && ((outcome.lied = round), true)).catch(() => {});
        }
      }
      if (event.event === 'started' && lives++ > 0) outcome.backTo = event.round;
      if (event.event === 'round') round = event.round;
      if (event.event === 'decision' && event.decision.kind === 'auditFailed') {
        outcome.bans += event.decision.worker === 'v0' ? 1 : 100;
        outcome.found ??= round;
      }
      if (event.event === 'evaluation') outcome.loss = event.validationLoss;
      return event.event === 'finished';
    });
    return outcome;
  } finally {
    await Promise.all([...volunteers, coordinator].map((process) => process.end()));
  }
}

/** @param {Outcome} honest @param {readonly (Outcome & { lie: string, after: number })[]} results */
function tableOf(honest, results) {
  const shown = (/** @type {number | undefined} */ round) => (round === undefined ? '–' : String(round));
  const row = (
    /** @type {string} */ name,
    /** @type {string} */ begins,
    /** @type {Outcome} */ { loss, lied, found, backTo },
  ) => [...[name, begins, shown(lied), shown(found), shown(backTo), decimal(loss, 3), decimal(loss - honest.loss, 3)]];
  return {
    head: ['Answer', 'Lies after', 'Lied in round', 'Found in round', 'Back to', 'Loss', 'More than honest'],
    rows: [row('honest', '–', honest), ...results.map((result) => row(result.lie, `${result.after} leases`, result))],
  };
}

/** @param {Outcome} honest @param {readonly (Outcome & { lie: string })[]} results */
function goalsOf(honest, results) {
  const worst = Math.max(...results.map(({ loss }) => loss - honest.loss));
  return [
    {
      text: `the worst loss is ${decimal(worst, 3)} above that without liars (goal: ${TOLERANCE})`,
      met: worst <= TOLERANCE,
      binding: false,
    },
    {
      text: 'every worker that lied is banned, and nobody else',
      met: honest.bans === 0 && results.every(({ bans, lied }) => bans === (lied === undefined ? 0 : 1)),
      binding: true,
    },
  ];
}
