/** Divides the processor time of a CPU profile by the kind of work. */
import fs from 'node:fs';
import path from 'node:path';

/** @typedef {{ functionName: string, url: string }} Frame */
/** @typedef {{ nodes: readonly { id: number, callFrame: Frame }[], samples: readonly number[], timeDeltas: readonly number[], startTime: number }} Profile times in us */

/** @type {readonly (readonly [kind: string, test: RegExp])[]} matched against "function url"; the first that fits counts */
const RULES = [
  ['arithmetic', /^wasm-function/],
  ['collections', /^\(garbage collector\)/],
  ['socket writes', /^(writev|writeBuffer|writeUtf8String|shutdown) |\.mask |\/ws\/lib\/sender/],
  ['socket reads', /\/ws\/lib\/|^onStreamRead |^(read|createUnsafeBuffer|FastBuffer) /],
  ['copies', /\/(frames|channel|memory-map)\.js|^(snapshot|restore) /],
];
const OTHER = 'other';
export const KINDS = [...RULES.map(([kind]) => kind), OTHER];

/**
 * @param {string} folder of .cpuprofile files
 * @param {readonly [startUs: number, endUs: number]} window samples outside it do not count
 * @returns {Record<string, number>[]} for each process, in the order in which they started: kind -> ms of its main thread
 */
export function readProfiles(folder, window) {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'));
  /** @type {Profile[]} */
  const profiles = files.map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), 'utf8')));
  return profiles.sort((a, b) => a.startTime - b.startTime).map((profile) => kindsIn(profile, window));
}

/** @param {Profile} profile @param {readonly [number, number]} window @returns {Record<string, number>} */
function kindsIn({ nodes, samples, timeDeltas, startTime }, [startUs, endUs]) {
  const kinds = new Map(nodes.map(({ id, callFrame }) => [id, kindOf(callFrame)]));
  const ms = Object.fromEntries(KINDS.map((kind) => [kind, 0]));
  let timeUs = startTime;
  samples.forEach((id, i) => {
    timeUs += timeDeltas[i];
    const kind = kinds.get(id);
    if (kind !== undefined && timeUs >= startUs && timeUs <= endUs) ms[kind] += timeDeltas[i] / 1000;
  });
  return ms;
}

/** Undefined: the processor was idle. @param {Frame} frame */
function kindOf({ functionName, url }) {
  if (/^\((idle|program|root)\)$/.test(functionName)) return undefined;
  return RULES.find(([, test]) => test.test(`${functionName} ${url}`))?.[0] ?? OTHER;
}
