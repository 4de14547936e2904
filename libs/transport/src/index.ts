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
export { createMeter, tap, type Meter, type Taps, type Traffic } from './tap.js';
export { throttle, type Pacer } from './throttle.js';
