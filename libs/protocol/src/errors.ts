import type { MessageOf } from './messages.js';
import { brief } from './text.js';

/** Why a peer's bytes, message or request were refused. Sent in `refuse` and `contributionResult`. */
export type ProtocolErrorCode =
  /** Bytes that are no frame, no msgpack or no known message. */
  | 'malformed_frame'
  /** A message of a known type whose fields break its schema. */
  | 'invalid_message'
  /** A valid message at the wrong moment. */
  | 'unexpected_message'
  /** A frame, transfer or field over `LIMITS`. */
  | 'limit_exceeded'
  /** No common protocol version. */
  | 'version_mismatch'
  /** The join token is wrong. */
  | 'wrong_token'
  /** The token was valid, and its time is over. */
  | 'token_expired'
  /** The organizer has revoked the token. */
  | 'token_revoked'
  /** The token is valid, but not for this. */
  | 'wrong_scope'
  /** The parameter layout differs. */
  | 'layout_mismatch'
  /** The run takes no more workers. */
  | 'run_full'
  /** The token, or the address, has as many links as it may have. */
  | 'too_many_links'
  /** The address or the token has sent more within a minute than it may. */
  | 'rate_limited'
  /** The link of this worker was too slow for the run, and it rests. */
  | 'too_slow'
  /** The run has ended. */
  | 'run_over'
  /** The organizer has banned this worker. */
  | 'banned'
  /** Another coordinator has the all-reduce service. */
  | 'taken'
  | 'internal';

/** Bytes or a message from a peer that cannot be accepted. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;
  readonly remedy: string;
  constructor(code: ProtocolErrorCode, message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** The message that refuses a peer for this reason, cut to the length that a message may have. */
export function refusal({ code, message, remedy }: Pick<ProtocolError, 'code' | 'message' | 'remedy'>): MessageOf<'refuse'> {
  return { type: 'refuse', code, message: brief(message), remedy: brief(remedy) };
}
