/** Sends large files to readers that take them at some speed: places for downloads are few. */
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { LIMITS } from '@troupe/protocol';

/** A reader takes at least `bytes` in each window. The unit in which it is counted, a piece and what is buffered behind it, is smaller. */
export interface Floor {
  readonly bytes: number;
  readonly windowMs: number;
}

const FLOOR: Floor = { bytes: LIMITS.downloadFloorBytes, windowMs: LIMITS.downloadWindowMs };

/** So that a download waits for its reader, who gets no more than this at once. */
const PIECE_BYTES = 64 * 1024;

export function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

/**
 * Sends a response whose head is written. A reader that is slower than the floor, or leaves, is cut off, which is no error.
 * Resolves when the response is sent or cut off.
 */
export async function sendPaced(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  response: ServerResponse,
  { bytes: least, windowMs }: Floor = FLOOR,
): Promise<void> {
  let taken = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      yield chunk;
      // It is asked for the next one when the reader has made room.
      taken += chunk.length;
    }
  };
  const timer = setInterval(() => {
    if (taken < least) response.destroy();
    taken = 0;
  }, windowMs);
  try {
    await pipeline(Readable.from(counted(), { objectMode: false }), response);
  } catch {
    response.destroy();
  } finally {
    clearInterval(timer);
  }
}

/** Cuts off a reader that takes nothing of a response for long. */
export function cutOffWhenStalled(response: ServerResponse): void {
  response.setTimeout(LIMITS.responseStalledMs, () => response.destroy());
}
