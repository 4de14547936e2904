/** Who may join a run. */
import { ProtocolError, sameText, type MessageOf } from '@troupe/protocol';
import { hostOf, type Connection } from '@troupe/transport';

export interface Gate {
  /**
   * Lets in the sender of a hello. A refusal may take a moment.
   * @throws ProtocolError `wrong_token`, `token_expired`, `token_revoked`, `wrong_scope`, `too_many_links`
   */
  admit(hello: Pick<MessageOf<'hello'>, 'token' | 'kind'>, link: Connection): Pass | Promise<Pass>;
  /** Links with the same answer count together until they have said hello. */
  addressOf(link: Connection): string;
}

/** A gate that decides at once. */
export interface ImmediateGate extends Gate {
  admit(...of: Parameters<Gate['admit']>): Pass;
}

/** Of one link, as long as it is open. */
export interface Pass {
  /** Aborts, with a ProtocolError as its reason, when the link must end: its token expires, for example. */
  readonly ended: AbortSignal;
  /** What its worker computes need not be audited. */
  readonly trusted: boolean;
  /** Of the signed token that its worker has shown. */
  readonly tokenId?: string;
  /** A lease is sent over the link. */
  countLease(): void;
  /** The link has ended. */
  release(): void;
}

/**
 * A gate for one secret, which everybody shares and which never ends.
 * @param trusted what the passes say of those who have it
 * @throws RangeError if it is empty: that would admit everybody
 */
export function createTokenGate(expected: string, trusted = true): ImmediateGate {
  if (expected === '') throw new RangeError('the token is empty');
  return {
    addressOf: ({ remote }) => hostOf(remote),
    admit({ token }) {
      if (sameText(token, expected)) return createPass(trusted);
      throw new ProtocolError(
        'wrong_token',
        'the token is not valid for this run',
        'Use the token that the coordinator printed when it started: --token TOKEN.',
      );
    },
  };
}

/** A pass that nothing ends or counts. */
function createPass(trusted: boolean): Pass {
  return { ended: new AbortController().signal, trusted, countLease: () => undefined, release: () => undefined };
}
