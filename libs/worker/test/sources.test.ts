import { createHash } from 'node:crypto';
import type { SnapshotPiece, SnapshotSource } from '@troupe/collective';
import { LIMITS } from '@troupe/protocol';
import { beforeEach, expect, it } from 'vitest';
import { fetchSnapshot, piecesOf, type Sources } from '../src/sources.js';

const PIECE = LIMITS.snapshotPieceBytes;
/** Five pieces, of which the last is short. */
const SNAPSHOT = Uint8Array.from({ length: 4 * PIECE + 1000 }, (_, i) => (i * 2654435761) >>> 24);
const sha256 = async (bytes: Uint8Array): Promise<Uint8Array> => createHash('sha256').update(bytes).digest();
const never = new AbortController().signal;

type Answer = (piece: SnapshotPiece, signal: AbortSignal) => Promise<Uint8Array<ArrayBuffer> | undefined>;
const slice = ({ offset, bytes }: SnapshotPiece): Uint8Array<ArrayBuffer> => SNAPSHOT.slice(offset, offset + bytes);
const honest: Answer = async (piece) => slice(piece);

let asked: Map<string, number[]>;
let deadlines: { readonly ms: number; readonly over: AbortController }[];

beforeEach(() => {
  [asked, deadlines] = [new Map(), []];
});

/** Waits of this length are over. */
function expire(length: number): void {
  // Some begin another when they are over.
  for (const { ms, over } of [...deadlines]) if (ms === length) over.abort();
}

/** Quicker than toEqual for a megabyte. */
const isSnapshot = (bytes: Uint8Array | undefined): boolean => bytes !== undefined && Buffer.compare(bytes, SNAPSHOT) === 0;

/** @param answers by worker; undefined: no link opens to it */
async function fetchFrom(answers: Record<string, Answer | undefined>, signal = never): Promise<Uint8Array | undefined> {
  const digests = await Promise.all(
    Array.from({ length: piecesOf(SNAPSHOT.length) }, (_, i) => sha256(SNAPSHOT.subarray(i * PIECE, (i + 1) * PIECE))),
  );
  const workers = Object.keys(answers);
  const sources: Sources = { round: 7, bytes: SNAPSHOT.length, digests: Buffer.concat(digests), workers };
  const member = {
    async source(worker: string, waiting: AbortSignal): Promise<SnapshotSource | undefined> {
      const answer = answers[worker];
      if (answer) {
        return {
          fetch(piece, until) {
            asked.set(worker, [...(asked.get(worker) ?? []), piece.offset / PIECE]);
            return answer(piece, until);
          },
        };
      }
      await new Promise((resolve) => waiting.addEventListener('abort', resolve, { once: true }));
      return undefined;
    },
  };
  const deadline = (ms: number): AbortSignal => {
    const over = new AbortController();
    deadlines.push({ ms, over });
    return over.signal;
  };
  return fetchSnapshot(sources, { member, sha256, deadline }, signal);
}

it('is put together from pieces of several workers, each asked for once', async () => {
  expect(await fetchFrom({ a: honest, b: honest })).toSatisfy(isSnapshot);
  expect([...asked.values()].flat().sort()).toEqual([0, 1, 2, 3, 4]);
  expect(asked.size).toBe(2);
});

it.each<[string, Answer]>([
  ['sends other bytes', async (piece) => slice(piece).fill(0)],
  ['sends too little', async (piece) => slice(piece).subarray(1)],
  ['does not keep it', async () => undefined],
])('comes from the others when one of them %s, which is asked for no more than it was', async (_, wrong) => {
  expect(await fetchFrom({ a: wrong, b: honest })).toSatisfy(isSnapshot);
  expect(asked.get('a')!.length).toBeLessThanOrEqual(2);
});

it('comes from the others when one of them sends nothing in time', async () => {
  const silent: Answer = (_, signal) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
      // It takes two, because the first may have begun long before.
      setImmediate(() => expire(LIMITS.pieceMs));
      setImmediate(() => expire(LIMITS.pieceMs));
    });
  expect(await fetchFrom({ a: silent })).toBeUndefined();
  expect(await fetchFrom({ a: silent, b: honest })).toSatisfy(isSnapshot);
});

it('does not wait for a link that does not open once all pieces are there', async () => {
  expect(await fetchFrom({ a: undefined, b: honest })).toSatisfy(isSnapshot);
});

it('is not there when nobody sends it, or no link opens in time', async () => {
  expect(await fetchFrom({ a: async () => undefined })).toBeUndefined();
  const fetching = fetchFrom({ a: undefined });
  await new Promise((resolve) => setImmediate(resolve));
  expire(LIMITS.rtcConnectMs);
  expect(await fetching).toBeUndefined();
});

it('is not there when it takes longer than a snapshot may, however steadily it comes', async () => {
  let stopped = false;
  const slow: Answer = (piece, signal) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve(undefined), { once: true });
      if (!stopped) setImmediate(() => resolve(slice(piece)));
      if (piece.offset <= PIECE) {
        stopped = true;
        setImmediate(() => expire(LIMITS.snapshotTransferMs));
      }
    });
  expect(await fetchFrom({ a: slow })).toBeUndefined();
});

it('is abandoned when it is no longer needed', async () => {
  const over = new AbortController();
  const stuck: Answer = (_, signal) =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
  const fetching = fetchFrom({ a: stuck, b: undefined }, over.signal);
  await new Promise((resolve) => setImmediate(resolve));
  over.abort();
  expect(await fetching).toBeUndefined();
  expect(await fetchFrom({ a: honest }, over.signal)).toBeUndefined();
});
