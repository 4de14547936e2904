/** Takes a snapshot from other workers: each piece from one of them, checked against the digest that the coordinator has named. */
import type { CollectiveMember, SnapshotSource } from '@troupe/collective';
import { LIMITS } from '@troupe/protocol';
import type { WorkerPorts } from './ports.js';

export const SHA256_BYTES = 32;
/** Pieces that one worker is asked for at a time, so that its link is never idle. */
const LANES = 2;

export interface Sources {
  readonly round: number;
  /** Of the snapshot. */
  readonly bytes: number;
  /** SHA-256 of each piece, one after the other. */
  readonly digests: Uint8Array;
  /** Ids of the workers that keep it. */
  readonly workers: readonly string[];
}

export interface SourcesPorts {
  readonly member: Pick<CollectiveMember, 'source'>;
  readonly sha256: NonNullable<WorkerPorts['sha256']>;
  deadline(ms: number): AbortSignal;
}

export function piecesOf(bytes: number): number {
  return Math.ceil(bytes / LIMITS.snapshotPieceBytes);
}

/**
 * A worker to which no link opens, or that sends something else or nothing, is asked no more; the others then send its pieces.
 * @returns undefined when none of them is left, or `signal` aborts
 */
export async function fetchSnapshot(sources: Sources, ports: SourcesPorts, signal: AbortSignal): Promise<Uint8Array | undefined> {
  const board = new Board(piecesOf(sources.bytes));
  const stop = (): void => board.stop();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  ports.deadline(LIMITS.snapshotTransferMs).addEventListener('abort', stop, { once: true });
  // A link over WebRTC may take this long to open.
  ports.deadline(LIMITS.rtcConnectMs).addEventListener('abort', () => board.stopWaiting(), { once: true });
  const snapshot = new Uint8Array(sources.bytes);
  try {
    await Promise.all(sources.workers.map((worker) => fetchFrom(worker, { ...ports, sources, board, snapshot })));
  } finally {
    signal.removeEventListener('abort', stop);
    stop();
  }
  return board.isComplete ? snapshot : undefined;
}

interface Fetching extends SourcesPorts {
  readonly sources: Sources;
  readonly board: Board;
  readonly snapshot: Uint8Array;
}

/** Until nothing is missing, or this worker is of no use. */
async function fetchFrom(worker: string, fetching: Fetching): Promise<void> {
  const { board, member } = fetching;
  const source = await member.source(worker, board.waiting);
  if (!source) return;
  const asking = createAsking(fetching);
  const lane = async (): Promise<void> => {
    while (!asking.signal.aborted) {
      const index = await board.take();
      if (index === undefined) return;
      const isSound = await asking.during(() => fetchPiece(source, index, fetching, asking.signal));
      if (isSound) board.arrived();
      else {
        board.giveBack(index);
        asking.end();
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  asking.end();
}

interface Asking {
  /** Aborts when nothing more is wanted of this worker. */
  readonly signal: AbortSignal;
  /** @returns whether the piece arrived, and is sound */
  during(fetch: () => Promise<boolean>): Promise<boolean>;
  end(): void;
}

/** Ends when a piece was asked for, and none has come, for `pieceMs` to twice that. One timer at a time: pieces come by the thousand. */
function createAsking({ board, deadline }: Fetching): Asking {
  const over = new AbortController();
  const end = (): void => {
    over.abort(new Error('this worker is asked no more'));
    board.over.removeEventListener('abort', end);
  };
  let asked = 0;
  let isProgressing = true;
  const expire = (): void => {
    if (over.signal.aborted) return;
    if (asked > 0 && !isProgressing) return end();
    isProgressing = false;
    deadline(LIMITS.pieceMs).addEventListener('abort', expire, { once: true });
  };
  board.over.addEventListener('abort', end, { once: true });
  expire();
  const during = async (fetch: () => Promise<boolean>): Promise<boolean> => {
    asked++;
    const isSound = !over.signal.aborted && (await fetch());
    asked--;
    isProgressing = true;
    return isSound;
  };
  return { signal: over.signal, during, end };
}

/** @returns whether it arrived, with the right bytes */
async function fetchPiece(
  source: SnapshotSource,
  index: number,
  { sources, snapshot, sha256 }: Fetching,
  signal: AbortSignal,
): Promise<boolean> {
  const offset = index * LIMITS.snapshotPieceBytes;
  const bytes = Math.min(LIMITS.snapshotPieceBytes, sources.bytes - offset);
  const piece = await source.fetch({ round: sources.round, offset, bytes }, signal);
  if (piece?.byteLength !== bytes) return false;
  const due = sources.digests.subarray(index * SHA256_BYTES, (index + 1) * SHA256_BYTES);
  const digest = await sha256(piece);
  if (!due.every((byte, i) => byte === digest[i])) return false;
  snapshot.set(piece, offset);
  return true;
}

/** Which pieces are still missing. */
class Board {
  /** Those that nobody is asked for. */
  readonly #missing: number[];
  #left: number;
  readonly #over = new AbortController();
  readonly #waiting = new AbortController();
  #wake: (() => void)[] = [];

  constructor(pieces: number) {
    this.#missing = Array.from({ length: pieces }, (_, index) => index);
    this.#left = pieces;
  }

  get isComplete(): boolean {
    return this.#left === 0;
  }

  /** Aborts when no piece is wanted any more. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Aborts when nobody waits for links any longer. */
  get waiting(): AbortSignal {
    return this.#waiting.signal;
  }

  /** The index of a piece to ask for; one may be given back as long as others are asked. undefined: no more. */
  async take(): Promise<number | undefined> {
    while (this.#missing.length === 0 && !this.over.aborted) await new Promise<void>((resolve) => this.#wake.push(resolve));
    return this.over.aborted ? undefined : this.#missing.pop();
  }

  giveBack(index: number): void {
    this.#missing.push(index);
    this.#news();
  }

  arrived(): void {
    if (--this.#left === 0) this.stop();
  }

  stopWaiting(): void {
    this.#waiting.abort(new Error('no link opened in time'));
  }

  stop(): void {
    this.stopWaiting();
    this.#over.abort(new Error('the snapshot is no longer fetched'));
    this.#news();
  }

  #news(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}
