import type { BodyReader } from '@troupe/protocol';

/** Gives all pieces of the body to `take`. */
export async function takeBody(body: BodyReader, take: (piece: Uint8Array) => void, signal?: AbortSignal): Promise<void> {
  for (let piece = await body.next(signal); piece; piece = await body.next(signal)) take(piece);
}

/** The whole body, in its own memory. @param onPiece sees each piece when it has arrived */
export async function readBody(
  body: BodyReader,
  signal?: AbortSignal,
  onPiece: (piece: Uint8Array) => void = () => undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(body.bytes);
  let at = 0;
  const take = (piece: Uint8Array): void => {
    bytes.set(piece, at);
    at += piece.byteLength;
    onPiece(piece);
  };
  await takeBody(body, take, signal);
  return bytes;
}
