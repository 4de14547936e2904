/** The signed tokens of a run, and the links that are open because of them. */
import { createTokenJudge, NO_ACCESS, type AccessState, type KnownToken, type Scope, type Validity } from '@troupe/access';
import type { Account, Caps } from '../server/caps.js';
import { excessError } from '../server/traffic.js';

/** Why a token is not accepted. */
export class TokenRefused extends Error {
  override readonly name = 'TokenRefused';
  readonly code: 'wrong_token' | 'token_expired' | 'token_revoked' | 'wrong_scope' | 'too_many_links' | 'rate_limited';
  readonly remedy: string;
  constructor(code: TokenRefused['code'], message: string, remedy: string) {
    super(message);
    this.code = code;
    this.remedy = remedy;
  }
}

/** A link that is open because of a token. */
export interface Hold {
  readonly account: Account;
  /** Aborts, with a TokenRefused as its reason, when the token is no longer valid. */
  readonly ended: AbortSignal;
  /** The link has closed. */
  release(): void;
}

export interface SignedTokens {
  /** @throws TokenRefused `wrong_token`, `token_expired`, `token_revoked` */
  check(text: string): KnownToken;
  /** @throws TokenRefused `too_many_links` */
  hold(token: KnownToken): Hold;
  /** @throws always: TokenRefused `wrong_scope`. @param what "join as a worker" */
  refuseScope(token: KnownToken, what: string, wanted: Scope): never;
  /** The file has changed. Ends the links whose tokens are no longer valid. */
  use(state: AccessState): void;
  /** Ends the links whose tokens have expired. */
  sweep(): void;
}

export interface SignedTokensOptions {
  readonly caps: Caps;
  /** Unix time, ms. */
  now(): number;
  /** Monotonic, ms. */
  nowMs(): number;
  /** The command to paste for this program: "troupe". */
  readonly program: string;
}

export function createSignedTokens({ caps, now, nowMs, program }: SignedTokensOptions): SignedTokens {
  const open = new Map<AbortController, KnownToken>();
  let judge = createTokenJudge(NO_ACCESS);
  const askFor = (scope: Scope): string =>
    `Ask the organizer of the run for a new one, who makes it with: ${program} token create --scope ${scope}`;
  const refusalOf = ({ id, scope }: KnownToken, validity: Exclude<Validity, 'valid'>): TokenRefused =>
    new TokenRefused(
      `token_${validity}`,
      `the token ${id} ${validity === 'revoked' ? 'was revoked' : 'has expired'}`,
      askFor(scope),
    );
  const sweep = (): void => {
    for (const [ends, token] of open) {
      const validity = judge.validity(token, now());
      if (validity !== 'valid') ends.abort(refusalOf(token, validity));
    }
  };
  return {
    sweep,
    use(state) {
      judge = createTokenJudge(state);
      sweep();
    },
    check(text) {
      const token = judge.recognise(text);
      if (!token) throw new TokenRefused('wrong_token', 'no key of this coordinator has signed the token', askFor('worker'));
      const validity = judge.validity(token, now());
      if (validity !== 'valid') throw refusalOf(token, validity);
      return token;
    },
    hold(token) {
      const account = caps.account(`token ${token.id}`);
      const excess = account.open(nowMs(), token.maxLinks);
      if (excess) {
        const { code, message, remedy } = excessError(excess, 'this token');
        throw new TokenRefused(code as 'too_many_links', message, remedy);
      }
      const ends = new AbortController();
      open.set(ends, token);
      const release = (): void => {
        if (open.delete(ends)) account.close();
      };
      return { account, ended: ends.signal, release };
    },
    refuseScope({ scope }, what, wanted) {
      throw new TokenRefused('wrong_scope', `a token of scope ${scope} does not allow its holder to ${what}`, askFor(wanted));
    },
  };
}
