/**
 * What a page and its worker say to each other about links over WebRTC. Browsers have WebRTC in pages and not in workers, so the page
 * holds the links that its worker opens, and passes on frames and signals. Both sides are the same program and trust each other.
 */
import type { CloseInfo, TransportErrorCode } from '../../connection.js';
import type { IceServer } from '../../webrtc/index.js';

/** The part of a MessagePort that is used here. */
export interface BridgePort {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
  /** Messages queue until then. */
  start(): void;
  close(): void;
}

/** Bytes of frames that the page sends to the worker before the worker has taken them. */
export const CREDIT_BYTES = 8 * 1024 * 1024;
/** The worker reports what it has taken in steps of this size. */
export const CREDIT_STEP_BYTES = CREDIT_BYTES / 8;

/** The worker numbers its links; every message names its link. */
export type ToPage = { readonly link: number } & (
  | { readonly kind: 'open'; readonly role: Role; readonly remote: string; readonly iceServers: readonly IceServer[] }
  /** The attempt to open the link has been aborted. */
  | { readonly kind: 'abort' }
  /** The answer to `nextSignal`: a signal from the other side, which the page checks. */
  | { readonly kind: 'signal'; readonly signal: unknown }
  /** No more signals can be sent or received. */
  | { readonly kind: 'signallingLost'; readonly reason: string }
  | { readonly kind: 'frame'; readonly frame: Uint8Array }
  /** The reader in the worker has taken this many bytes. */
  | { readonly kind: 'taken'; readonly bytes: number }
  | { readonly kind: 'close'; readonly reason: string }
);

export type ToWorker =
  | ({ readonly link: number } & (
      | { readonly kind: 'opened'; readonly remote: string }
      | { readonly kind: 'failed'; readonly error: PlainError }
      | { readonly kind: 'nextSignal' }
      /** For the other side. */
      | { readonly kind: 'signal'; readonly signal: unknown }
      | { readonly kind: 'frame'; readonly frame: Uint8Array }
      /** This many bytes of what the worker has sent have left this machine. */
      | { readonly kind: 'left'; readonly bytes: number }
      /** The last message of a link, after all its frames. */
      | { readonly kind: 'closed'; readonly info: CloseInfo }
    ))
  /** The page has ended the bridge, with all links. */
  | { readonly kind: 'ended'; readonly reason: string };

export type Role = 'offer' | 'answer';
export type Message<Of, Kind> = Extract<Of, { readonly kind: Kind }>;

/** A TransportError without its class, which messages do not carry. */
export interface PlainError {
  readonly code: TransportErrorCode;
  readonly message: string;
  readonly remedy: string;
}

/** The frame in a buffer of its own. Only a buffer that holds nothing else can move to another thread without a copy. */
export function isolate(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = frame;
  const isAlone = buffer instanceof ArrayBuffer && buffer.byteLength === frame.byteLength;
  return isAlone ? (frame as Uint8Array<ArrayBuffer>) : new Uint8Array(frame);
}
