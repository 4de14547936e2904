/** What the sections share: the run that is disturbed, rates, and how soon others take over. */
import os from 'node:os';
import { median } from '../../contestant.mjs';
import { characters, MEDIUM } from '../../configs.mjs';
import { runFlags, usualCorpus } from '../../runs.mjs';

/** @typedef {import('../../cluster.mjs').Cluster} Cluster */
/** @typedef {import('../../cluster.mjs').Member} Member */
/** @typedef {import('../../cluster.mjs').TimedEvent} TimedEvent */
/** @typedef {import('../../cluster.mjs').TimedRound} TimedRound */
/** @typedef {import('../../configs.mjs').Size} Size */

export const ENGINE = 'wasm';
export const SIZE = MEDIUM;
/** More rounds than any run reaches. */
const ENDLESS = 100_000;
/** Rounds until speeds are measured and the division of streams is stable. */
export const SETTLING = 20;

/** Flags of a run that ends when it has been measured long enough. @param {string} out @param {Size} [size] */
export function endless(out, size = SIZE) {
  return [...runFlags(usualCorpus(), size, out), `--rounds=${ENDLESS}`];
}

/** The core of a worker: workers are bound to cores in turn. */
export function coreOf(/** @type {number} */ number) {
  return number % os.cpus().length;
}

/** @param {TimedEvent} event @returns {event is TimedRound} */
export function isRound(event) {
  return event.event === 'round';
}

/** The rounds that ended in that span. @param {Cluster} cluster @param {number} fromMs @param {number} toMs */
export function roundsWithin({ events }, fromMs, toMs) {
  return events.filter(isRound).filter(({ atMs }) => atMs > fromMs && atMs <= toMs);
}

/** chars/s between the ends of the first and the last of these rounds. @param {readonly TimedRound[]} rounds @param {Size} [size] */
export function rateOf(rounds, size = SIZE) {
  const [first, last] = [rounds[0], rounds[rounds.length - 1]];
  return ((rounds.length - 1) * characters(size) * 1000) / (last.atMs - first.atMs);
}

/** Waits for rounds to end. @param {Cluster} cluster @param {number} count rounds from now */
export async function passRounds(cluster, count) {
  for (let i = 0; i < count; i++) await cluster.until(isRound);
}

/** Starts workers and lets the run settle with all of them. @param {Cluster} cluster @param {number} count @returns {Promise<Member[]>} */
export async function hireAll(cluster, count, settling = SETTLING) {
  await cluster.until(({ event }) => event === 'listening', 0);
  const members = Array.from({ length: count }, (_, i) => cluster.hire({ engine: ENGINE, core: coreOf(i) }));
  for (const member of members) await cluster.ready(member);
  await passRounds(cluster, settling);
  return members;
}

/**
 * Time from a moment until workers other than `gone` were computing all streams of a round, ms; undefined if that never happened.
 * @param {Cluster} cluster
 * @param {Member} gone
 * @param {number} sinceMs
 */
export function takenOverMs({ members }, gone, sinceMs) {
  /** @type {Map<number, { streams: number, startMs: number }>} */
  const rounds = new Map();
  for (const { round, streams, startMs } of members.filter((member) => member !== gone).flatMap(({ computed }) => computed)) {
    const sum = rounds.get(round) ?? { streams: 0, startMs: 0 };
    rounds.set(round, { streams: sum.streams + streams, startMs: Math.max(sum.startMs, startMs) });
  }
  const later = [...rounds.values()].filter(({ streams, startMs }) => streams >= SIZE.streams && startMs > sinceMs);
  return later.length === 0 ? undefined : Math.min(...later.map(({ startMs }) => startMs)) - sinceMs;
}

/** The median and its values, as text. @param {readonly number[]} values @param {(value: number) => string} format */
export function medianOf(values, format) {
  return `${format(median(values))} (${values.map(format).join(', ')})`;
}
