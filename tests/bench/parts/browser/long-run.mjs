/** Makes the folder of a run with a long history: a real run of a few rounds, whose checkpoint and history are moved ahead. */
import fs from 'node:fs';
import path from 'node:path';
import { readCheckpoint, writeCheckpoint } from '@troupe/checkpoint/node';
import { encodeEntry } from '@troupe/run';
import { train } from '../../runs.mjs';

/** @typedef {import('@troupe/run').HistoryEntry} HistoryEntry */

const HISTORY = 'history.jsonl';
const REAL_ROUNDS = 4;
const DEADLINE_MS = 120_000;
const EVALUATE_EVERY = 100;
const SAMPLE_EVERY = 200;
const EVENT_EVERY = 100;
const FLOW_EVERY = 1_000;
const CLIP = 5;

/**
 * @param {string} folder of the run; it is created
 * @param {readonly string[]} flags of a run, without --out and --rounds
 * @param {{ rounds: number, window: number, beside: number }} options `beside`: how many runs of the same length to create in folders beside it
 */
export async function makeLongRun(folder, flags, { rounds, window, beside }) {
  await train([...flags, `--out=${folder}`, `--rounds=${REAL_ROUNDS}`, '--workers=1', '--engine=wasm'], {
    deadlineMs: DEADLINE_MS,
  });
  const { checkpoint } = await readCheckpoint(folder);
  await writeCheckpoint(folder, { ...checkpoint, round: rounds });
  const file = path.join(folder, HISTORY);
  const header = fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .find((line) => line.includes('"type":"run"'));
  fs.writeFileSync(file, `${header}\n${longRecord(rounds, window)}`);
  for (let other = 1; other <= beside; other++) {
    const sibling = `${folder}-${other}`;
    fs.mkdirSync(sibling);
    fs.copyFileSync(file, path.join(sibling, HISTORY));
  }
}

/** The lines that a learning run writes, with spikes, late workers, samples and gradient flows. @param {number} rounds @param {number} window */
function longRecord(rounds, window) {
  const random = createRandom();
  /** @type {string[]} */
  const lines = [];
  const add = (/** @type {HistoryEntry} */ entry) => void lines.push(encodeEntry(entry));
  const startMs = Date.now() - rounds * 100;
  for (let round = 1; round <= rounds; round++) {
    const level = 1.3 + 2.6 * Math.exp((-6 * round) / rounds);
    add({ type: 'round', point: pointAt(round, rounds, level, random) });
    if (round % EVALUATE_EVERY === 0)
      add({ type: 'evaluation', evaluation: { round, validationLoss: level + 0.1 + 0.02 * random() } });
    if (round % SAMPLE_EVERY === 0)
      add({ type: 'sample', sample: { round, text: `The ${round}th verse, that tells of rounds gone by,\n`.repeat(6) } });
    if (round % EVENT_EVERY === 0) {
      const text = `worker-${round % 211} is late in round ${round}: its streams are lent to others too`;
      const [id, at] = [round / EVENT_EVERY, startMs + round * 100];
      add({ type: 'event', event: { id, at, round, kind: 'decision', level: 'info', text } });
    }
    if (round % FLOW_EVERY === 0) {
      const norms = Array.from({ length: window }, (_, back) => Number((0.01 * 0.9 ** back * (1 + random())).toPrecision(4)));
      add({ type: 'flow', flow: { round, layers: [norms] } });
    }
  }
  return `${lines.join('\n')}\n`;
}

/** @param {number} round @param {number} rounds @param {number} level @param {() => number} random @returns {import('@troupe/run').RoundPoint} */
function pointAt(round, rounds, level, random) {
  const trainLoss = level + 0.15 * (random() - 0.5) + (random() < 0.001 ? 1 : 0);
  const gradientNorm = 0.5 + random() + (random() < 0.01 ? 10 * random() : 0);
  const [computeMs, transferMs, reduceMs] = [40 + 20 * random(), 10 + 10 * random(), 5 + 2 * random()];
  const waitingMs = random() < 0.005 ? 800 * random() : 5 * random();
  const figure = (/** @type {number} */ value) => Number(value.toPrecision(6));
  return {
    round,
    trainLoss: figure(trainLoss),
    smoothedLoss: figure(level),
    gradientNorm: figure(gradientNorm),
    clipScale: figure(Math.min(1, CLIP / gradientNorm)),
    learningRate: figure(0.005 * (1 + Math.cos((Math.PI * round) / (2 * rounds)))),
    roundMs: figure(computeMs + transferMs + reduceMs + waitingMs),
    computeMs: figure(computeMs),
    transferMs: figure(transferMs),
    reduceMs: figure(reduceMs),
    waitingMs: figure(waitingMs),
    charsPerSecond: figure(30_000 + 2_000 * random()),
    workers: 200,
  };
}

/** Gives the same numbers every time: mulberry32. */
function createRandom(seed = 1) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
