/**
 * Watches a simulation for what must never happen: a stream counted twice, a replica that differs,
 * a broken invariant.
 */
import { decodeMessage, LIMITS, type Message } from '@troupe/protocol';
import type { RunState } from '@troupe/scheduler';
import { tap, type Connection } from '@troupe/transport';
import { brokenInvariants } from './invariants.js';
import { sha256 } from './training.js';

const HEADER_BYTES = 16;
const MESSAGE = 1;

/** The results of an undisturbed run. */
export interface Truth {
  /** [rounds + 1] parameters [P], by rounds completed. */
  readonly parameters: readonly Float32Array[];
  /** How far parameters may differ; 0: the bits must be the same. */
  readonly tolerance: number;
  /**
   * SHA-256 of its files by "round" and "best round", if the bits must be the same. The last round
   * is saved twice.
   */
  readonly files?: ReadonlyMap<string, ReadonlySet<string>>;
}

export interface Audit {
  /** Everything that went wrong, the cause first. */
  readonly violations: readonly string[];
  readonly parameters: ReadonlyMap<number, Float32Array>;
  readonly files: ReadonlyMap<string, ReadonlySet<string>>;
  violate(what: string): void;
  /** Another coordinator takes over: what workers reported to the last one no longer applies. */
  onBoot(): void;
  /**
   * A worker left, and its replica with it. It may have applied an update that never reached the
   * coordinator, whose round then starts over.
   */
  onLeft(worker: string): void;
  /** The coordinator's replica after `round` rounds. */
  onCommitted(round: number, parameters: Float32Array, digest: string): void;
  onWritten(round: number, best: boolean, bytes: Uint8Array): void;
  onState(state: RunState): void;
  onFrame(from: string, frame: Uint8Array): void;
  /** The same link, with the all-reduce's messages to the coordinator audited. */
  listenIn(link: Connection, streams: number): Connection;
}

export function createAudit(truth: Truth | undefined): Audit {
  const violations: string[] = [];
  const violate = (what: string): void => void violations.push(what);
  const parameters = new Map<number, Float32Array>();
  const files = new Map<string, Set<string>>();
  /**
   * All digests of the coordinator's replica by round: it may compute a round again and round
   * differently.
   */
  const digests = new Map<number, Set<string>>();
  /** What workers reported since the last commit. */
  let reports: { readonly from: string; readonly round: number; readonly digest: string }[] = [];

  const compare = (round: number, values: Float32Array): void => {
    const expected = truth?.parameters[round];
    if (!expected) return;
    let most = 0;
    values.forEach(
      (value, i) => (most = Math.max(most, Object.is(value, expected[i]) ? 0 : Math.abs(value - expected[i]) || 1e-300)),
    );
    if (most > truth.tolerance || Number.isNaN(most)) violate(`round ${round}: parameters are off by ${most}`);
  };
  return {
    violations,
    parameters,
    files,
    violate,
    onBoot() {
      reports = [];
    },
    onLeft(worker) {
      reports = reports.filter(({ from }) => from !== worker);
    },
    onCommitted(round, values, digest) {
      compare(round, values);
      parameters.set(round, values.slice());
      const known = digests.get(round) ?? new Set();
      digests.set(round, known.add(digest));
      for (const report of reports.splice(0)) {
        if (report.round > round) reports.push(report);
        else if (!digests.get(report.round)?.has(report.digest))
          violate(`${report.from} reports ready for round ${report.round} with parameters that nobody else has`);
      }
    },
    onWritten(round, best, bytes) {
      const name = best ? `best ${round}` : `${round}`;
      const sum = sha256(bytes);
      files.set(name, (files.get(name) ?? new Set()).add(sum));
      if (truth?.files?.get(name)?.has(sum) === false) violate(`checkpoint ${name} has other bytes than in an undisturbed run`);
    },
    onState(state) {
      for (const fault of brokenInvariants(state)) violate(`round ${state.round}: ${fault}`);
    },
    onFrame(from, frame) {
      const message = messageIn(frame);
      if (message?.type !== 'ready') return;
      // A worker may be ahead: the coordinator's own replica steps a moment later.
      reports.push({ from, round: message.round, digest: message.parametersDigest });
    },
    listenIn: (link, streams) => tap(link, { received: createTally(streams, violate) }),
  };
}

/** @returns undefined for a chunk and for a frame that was damaged on purpose */
export function messageIn(frame: Uint8Array): Message | undefined {
  if (frame[0] !== MESSAGE) return undefined;
  try {
    return decodeMessage(frame.subarray(HEADER_BYTES), LIMITS);
  } catch {
    return undefined;
  }
}

/**
 * Checks that every stream counts exactly once before the update, unless the link damages frames.
 */
function createTally(streams: number, violate: (what: string) => void): (frame: Uint8Array) => void {
  let counted = new Set<number>();
  const transfers = new Set<number>();
  let sound = true;
  return (frame) => {
    if (frame[0] !== MESSAGE || !sound) return;
    const transfer = new DataView(frame.buffer, frame.byteOffset).getUint32(4, true);
    const message = messageIn(frame);
    sound = message !== undefined && !transfers.has(transfer);
    transfers.add(transfer);
    if (!sound) return;
    if (message?.type === 'counted') {
      for (const stream of message.streams) {
        if (counted.has(stream)) violate(`round ${message.round}: stream ${stream} is counted twice`);
        counted.add(stream);
      }
    }
    if (message?.type !== 'update') return;
    if (counted.size !== streams) violate(`round ${message.round}: an update of ${counted.size} of ${streams} streams`);
    counted = new Set();
  };
}
