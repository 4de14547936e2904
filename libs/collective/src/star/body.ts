import type { BodyReader } from '@troupe/protocol';

/** The whole body, in its own memory. */
export async function readBody(body: BodyReader, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(body.bytes);
  let at = 0;
  for (let piece = await body.next(signal); piece; piece = await body.next(signal)) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}
