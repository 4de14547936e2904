/** A coordinator and workers in separate processes that may be killed and frozen during a measurement. Linux only. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError } from './bench-error.mjs';
import { interruption } from './interruption.mjs';
import { startTroupe } from './runs.mjs';

/** @typedef {import('@troupe/run').RunEvent & { atMs: number }} TimedEvent `atMs`: when its line was read, performance.now() */
/** @typedef {Extract<TimedEvent, { event: 'round' }>} TimedRound */
/** @typedef {{ round: number, streams: number, startMs: number, endMs: number }} Computed a lease, as its worker reports it; rounds count from 1 */
/**
 * @typedef {object} Member
 * @property {string} name
 * @property {readonly Computed[]} computed
 * @property {readonly { kind: string, atMs: number }[]} log
 * @property {() => number} kill sends SIGKILL; returns the time, performance.now()
 * @property {() => number} freeze sends SIGSTOP; returns the time
 * @property {() => void} thaw
 */
/**
 * @typedef {object} Cluster
 * @property {readonly TimedEvent[]} events of every coordinator
 * @property {readonly Member[]} members all workers ever started
 * @property {(options: { engine: string, core?: number }) => Member} hire starts a worker, bound to a core
 * @property {(test: (event: TimedEvent) => boolean, fromMs?: number) => Promise<TimedEvent>} until the first event after that moment
 * (default: now) that passes the test
 * @property {(member: Member, sinceMs?: number) => Promise<TimedEvent>} ready when the coordinator reports it ready
 * @property {() => number} crash sends SIGKILL to the coordinator; returns the time
 * @property {() => void} resume starts another coordinator, which resumes the run
 */

const TOKEN = { TROUPE_TOKEN: 'bench' };
const POLL_MS = 2;

/** Whether this platform lets us find and freeze processes. */
export const canDisturb = process.platform === 'linux';

/**
 * @template T
 * @param {readonly string[]} flags of the run
 * @param {number} deadlineMs for the whole cluster
 * @param {(cluster: Cluster) => Promise<T>} use
 * @returns {Promise<T>}
 * @throws {BenchError} `run_failed`, `deadline`
 */
export async function withCluster(flags, deadlineMs, use) {
  const cluster = createCluster(flags, deadlineMs);
  try {
    return await use(cluster);
  } finally {
    await cluster.end();
  }
}

/**
 * @param {readonly string[]} flags
 * @param {number} deadlineMs
 * @returns {Cluster & { end: () => Promise<void> }}
 */
function createCluster(flags, deadlineMs) {
  const overMs = performance.now() + deadlineMs;
  /** @type {TimedEvent[]} */
  const events = [];
  /** @type {(Member & { end: () => void })[]} */
  const members = [];
  let port = '0';
  let address = '';
  let coordinator = launch([]);

  function launch(/** @type {readonly string[]} */ more) {
    return startTroupe(['coordinator', '--json', `--port=${port}`, ...flags, ...more], {
      deadlineMs,
      env: TOKEN,
      onMessage: (event) => {
        events.push({ ...event, atMs: performance.now() });
        if (event.event !== 'listening') return;
        address = event.address;
        port = new URL(address).port;
      },
    });
  }

  /** @type {Cluster['until']} */
  async function until(test, fromMs = performance.now()) {
    for (let next = 0; ; await sleep(POLL_MS)) {
      interruption.throwIfAborted();
      for (; next < events.length; next++) {
        const event = events[next];
        if (event.event === 'error') throw new BenchError('run_failed', event.message, event.remedy);
        if (event.atMs >= fromMs && test(event)) return event;
      }
      if (performance.now() > overMs) {
        throw new BenchError(
          'deadline',
          `the run did not get there within ${deadlineMs / 1000} s`,
          'Run its commands by hand to see why.',
        );
      }
    }
  }

  return {
    events,
    members,
    until,
    hire({ engine, core }) {
      const member = startMember(address, `bench-${members.length + 1}`, engine, core, deadlineMs);
      members.push(member);
      return member;
    },
    ready: ({ name }, sinceMs = 0) =>
      until((event) => event.event === 'worker' && event.change === 'ready' && event.name === name, sinceMs),
    crash: () => kill(coordinator.pid),
    resume: () => void (coordinator = launch(['--resume'])),
    async end() {
      for (const member of members) member.end();
      coordinator.stop();
      await coordinator.ended.catch(() => {});
    },
  };
}

/**
 * @param {string} address
 * @param {string} name
 * @param {string} engine
 * @param {number | undefined} core
 * @param {number} deadlineMs
 * @returns {Member & { end: () => void }}
 */
function startMember(address, name, engine, core, deadlineMs) {
  /** @type {Computed[]} */
  const computed = [];
  /** @type {{ kind: string, atMs: number }[]} */
  const log = [];
  const { pid, stop } = startTroupe(['worker', address, '--json', `--name=${name}`, `--engine=${engine}`], {
    deadlineMs,
    env: TOKEN,
    under: core === undefined ? [] : ['taskset', '-c', String(core)],
    onMessage: (message) => {
      const atMs = performance.now();
      if (message.kind !== 'computed') log.push({ ...message, atMs });
      // A worker counts rounds from 0; the event of a round says how many are completed.
      else computed.push({ round: message.round + 1, streams: message.streams, startMs: atMs - message.computeMs, endMs: atMs });
    },
  });
  let frozen = false;
  const thaw = () => {
    if (frozen) process.kill(appOf(pid), 'SIGCONT');
    frozen = false;
  };
  return {
    name,
    computed,
    log,
    kill: () => kill(pid),
    freeze() {
      frozen = true;
      process.kill(appOf(pid), 'SIGSTOP');
      return performance.now();
    },
    thaw,
    end() {
      thaw();
      stop();
    },
  };
}

/** Sends SIGKILL to the app of a command. @returns {number} the time, performance.now() */
function kill(/** @type {number} */ pid) {
  process.kill(appOf(pid), 'SIGKILL');
  return performance.now();
}

/** The process that does the work of a command. */
function appOf(/** @type {number} */ pid) {
  const [app] = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  if (app === undefined)
    throw new BenchError('run_failed', `the process ${pid} has no child`, 'Run its command by hand to see why.');
  return Number(app);
}

/** @param {string} file */
export function sha256(file) {
  return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}
