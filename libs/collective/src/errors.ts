import { ProtocolError } from '@troupe/protocol';
import { TransportError } from '@troupe/transport';

export class CollectiveError extends Error {
  override readonly name = 'CollectiveError';
  /**
   * `refused`: by the service; `taken`: it is with another coordinator; `bad_length`: a vector does not fit the model; `not_finite`: an update
   * that must not be applied.
   */
  readonly code: 'refused' | 'taken' | 'bad_length' | 'not_finite';
  readonly remedy: string;
  constructor(code: CollectiveError['code'], message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.remedy = remedy;
  }
}

/** Whether a link broke, or its other side broke the protocol: both end the link, and nothing else. */
export function isLinkFailure(error: unknown): error is TransportError | ProtocolError {
  return error instanceof TransportError || error instanceof ProtocolError;
}

export function abortedWait(): TransportError {
  return new TransportError('aborted', 'the wait was aborted', 'Call again if it is still needed.');
}
