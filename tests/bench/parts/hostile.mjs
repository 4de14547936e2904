/** What hostile volunteers do to a run: whether they are found, when, and what they change. */
import { fileURLToPath } from 'node:url';
import { COORDINATOR, NODE_FLAGS, start } from '../communication/null-run.mjs';
import { decimal } from '../report.mjs';
import { withScratch } from '../runs.mjs';
import { LIES } from './hostile/lies.mjs';

export const title = 'Hostile volunteers';
export const about =
  'A real coordinator and three volunteers, each a process (wasm, one thread), train 1x128 on the sonnets for 300 rounds (32 streams of 64 characters, Adam). ' +
  'One of the three lies: from its first lease, or after 100 honest ones. "Mixed" chooses another lie for each lease; "two of four" begin at the ' +
  'same lease and lie alike. "Found" is the round in which the first was banned, "rounds" how many that is after the first lie, and "back to" the ' +
  'checkpoint to which the run then went back, if anything of it had counted. The loss is that of the validation after the last round.';

const VOLUNTEER = fileURLToPath(new URL('./hostile/volunteer.mjs', import.meta.url));
const HONEST = 2;
const ROUNDS = 300;
const TURNING = 100;
const TOLERANCE = 0.02;
const TOKEN = 'volunteers-of-the-bench';

/** One of three, or two of four. @typedef {{ lie: string, after: number, liars: number }} Case */

/** @param {boolean} quick @returns {Case[]} */
function casesOf(quick) {
  if (quick) return [{ lie: 'sign flipped', after: 0, liars: 1 }];
  const names = Object.keys(LIES).filter((name) => name !== 'honest');
  const turning = ['sign flipped', 'flipped x100', 'end states of 1', 'computes nothing, zeros', 'mixed'];
  const colluding = [0, TURNING].map((after) => ({ lie: 'flipped x3', after, liars: 2 }));
  return [
    ...names.map((lie) => ({ lie, after: 0, liars: 1 })),
    ...turning.map((lie) => ({ lie, after: TURNING, liars: 1 })),
    ...colluding,
  ];
}

/** @param {import('../report.mjs').Options} options */
export async function measure({ quick, progress }) {
  const rounds = quick ? 30 : ROUNDS;
  progress('honest');
  const honest = await withScratch((out) => play({ lie: 'honest', after: 0, liars: 0 }, rounds, out));
  const results = [];
  for (const one of casesOf(quick)) {
    progress(`${nameOf(one)}${one.after > 0 ? `, after ${one.after} honest leases` : ''}`);
    results.push({ ...one, ...(await withScratch((out) => play(one, rounds, out))) });
  }
  return {
    tables: [tableOf(honest, results)],
    goals: goalsOf(honest, results),
    notes: [],
    data: { honest, results },
  };
}

/** @param {Case} one */
function nameOf({ lie, liars }) {
  return liars > 1 ? `${lie}, two of four` : lie;
}

/**
 * `lied`: the round of the first lie; `lying`: how many lied; `bans`: how many of them were banned; `parked`: how many of them have nothing to
 * compute; `wrong`: how many others were banned.
 * @typedef {{ loss: number, lied: number | undefined, found: number | undefined, backTo: number | undefined, lying: number, bans: number, parked: number, wrong: number }} Outcome
 */

/**
 * @param {Case} one
 * @param {number} rounds
 * @param {string} out
 * @returns {Promise<Outcome>}
 */
async function play({ lie, after, liars }, rounds, out) {
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
  const outcome = { loss: NaN, lied: undefined, found: undefined, backTo: undefined, lying: 0, bans: 0, parked: 0, wrong: 0 };
  let [round, lives] = [0, 0];
  const isLiar = (/** @type {string} */ worker) => Number(worker.slice(1)) < liars;
  const noteLie = () => {
    outcome.lied ??= round;
    return ++outcome.lying > 0;
  };
  try {
    await coordinator.read((event) => {
      if (event.event === 'listening') {
        for (let i = 0; i < HONEST + Math.max(1, liars); i++) {
          const args = [`${event.address}/control`, `v${i}`, i < liars ? lie : 'honest', String(after)];
          const volunteer = start([...NODE_FLAGS, VOLUNTEER, ...args], [], { TROUPE_TOKEN: TOKEN });
          volunteers.push(volunteer);
          if (i >= liars) continue;
          // It rejects when the volunteer ends without a lie.
          void volunteer.read((said) => said.lies === true && noteLie()).catch(() => {});
        }
      }
      if (event.event === 'started' && lives++ > 0) outcome.backTo = event.round;
      if (event.event === 'round') round = event.round;
      if (event.event === 'decision' && event.decision.kind === 'auditFailed') {
        if (isLiar(event.decision.worker)) outcome.bans++;
        else outcome.wrong++;
        outcome.found ??= round;
      }
      if (event.event === 'decision' && event.decision.kind === 'parked')
        outcome.parked += event.decision.workers.filter(isLiar).length;
      if (event.event === 'decision' && event.decision.kind === 'unparked')
        outcome.parked -= event.decision.workers.filter(isLiar).length;
      if (event.event === 'evaluation') outcome.loss = event.validationLoss;
      return event.event === 'finished';
    });
    return outcome;
  } finally {
    await Promise.all([...volunteers, coordinator].map((process) => process.end()));
  }
}

/** @param {Outcome} honest @param {readonly (Outcome & Case)[]} results */
function tableOf(honest, results) {
  const shown = (/** @type {number | undefined} */ round) => (round === undefined ? '–' : String(round));
  const row = (
    /** @type {string} */ name,
    /** @type {string} */ begins,
    /** @type {Outcome} */ { loss, lied, found, backTo },
  ) => [
    ...[name, begins, shown(lied), shown(found), lied === undefined || found === undefined ? '–' : String(found - lied)],
    ...[shown(backTo), decimal(loss, 3), decimal(loss - honest.loss, 3)],
  ];
  return {
    head: ['Answer', 'Lies after', 'Lied in round', 'Found in round', 'Rounds', 'Back to', 'Loss', 'More than honest'],
    rows: [row('honest', '–', honest), ...results.map((result) => row(nameOf(result), `${result.after} leases`, result))],
  };
}

/** @param {Outcome} honest @param {readonly (Outcome & Case)[]} results */
function goalsOf(honest, results) {
  const worst = Math.max(...results.map(({ loss }) => loss - honest.loss));
  return [
    {
      text: `the worst loss is ${decimal(worst, 3)} above that without liars (goal: ${TOLERANCE})`,
      met: worst <= TOLERANCE,
      binding: false,
    },
    {
      text: 'every worker that lied is banned, or was parked at once because rounds were faster without it, and nobody else is banned',
      met: [honest, ...results].every(({ bans, lying, parked, wrong }) => wrong === 0 && lying <= bans + parked),
      binding: true,
    },
  ];
}
