export { backoffMs, type BackoffOptions } from './backoff.js';
export { closeReason } from './close.js';
export {
  DEFAULT_FRAME_BYTES,
  hostOf,
  TransportError,
  type CloseInfo,
  type Connection,
  type Listener,
  type TransportErrorCode,
} from './connection.js';
export { tap, type Taps } from './tap.js';
