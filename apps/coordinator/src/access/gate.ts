/** Lets workers in: by a token of the run, or by a signed one. */
import { isSigned, type KnownToken } from '@troupe/access';
import { createTokenGate, type Gate, type ImmediateGate, type Pass } from '@troupe/conductor';
import { ProtocolError, sameText } from '@troupe/protocol';
import { excessError, type Traffic } from '../server/traffic.js';
import { TokenRefused, type SignedTokens } from './signed-tokens.js';
import type { WrongTokens } from './wrong-tokens.js';

export interface GateOptions {
  /** Of workers, and of volunteers, whose work is audited. Everybody may share them. */
  readonly token: string;
  readonly volunteerToken: string;
  readonly signed: SignedTokens;
  readonly traffic: Traffic;
}

/** The same gate. Who has shown wrong tokens is refused later and later. */
export function slowToRefuse(gate: ImmediateGate, wrongTokens: WrongTokens, traffic: Pick<Traffic, 'keyOf'>): Gate {
  return {
    addressOf: (link) => gate.addressOf(link),
    async admit(hello, link) {
      try {
        return gate.admit(hello, link);
      } catch (error) {
        if (error instanceof ProtocolError && error.code === 'wrong_token') await wrongTokens.counted(traffic.keyOf(link));
        throw error;
      }
    },
  };
}

export function createGate({ token: shared, volunteerToken, signed, traffic }: GateOptions): ImmediateGate {
  const workers = createTokenGate(shared);
  const volunteers = createTokenGate(volunteerToken, false);
  return {
    addressOf: (link) => traffic.keyOf(link) ?? 'this machine',
    admit(hello, link) {
      if (hello.kind === 'browser' && sameText(hello.token, volunteerToken)) return withLeases(volunteers.admit(hello, link));
      if (!isSigned(hello.token)) return withLeases(workers.admit(hello, link));
      return asProtocolErrors(() => {
        const token = signed.check(hello.token);
        refuseOthers(token, hello.kind);
        const { account, ended, release } = signed.hold(token);
        traffic.charges(link).push({ account, whose: 'this token' });
        return withLeases({ ended, release, trusted: token.scope !== 'volunteer', tokenId: token.id });
      });

      function withLeases(pass: Omit<Pass, 'countLease'>): Pass {
        traffic.admit(link);
        return countingLeases(pass, link, traffic);
      }
    },
  };

  /** A volunteer says that it is a browser, and nobody can check that: the scope is for order, not against attackers. */
  function refuseOthers(token: KnownToken, kind: 'node' | 'browser'): void {
    if (token.scope === 'viewer') signed.refuseScope(token, 'join as a worker', 'worker');
    if (token.scope === 'volunteer' && kind === 'node')
      signed.refuseScope(token, 'join outside the page for volunteers', 'worker');
  }
}

/** A pass that also ends when the address or the token is given too many leases. */
function countingLeases(
  { ended, release, ...rest }: Omit<Pass, 'countLease'>,
  link: Parameters<Traffic['charges']>[0],
  traffic: Traffic,
): Pass {
  const ends = new AbortController();
  const end = (): void => ends.abort(protocolErrorOf(ended.reason));
  ended.addEventListener('abort', end, { once: true });
  const charges = traffic.charges(link);
  return {
    ...rest,
    ended: ends.signal,
    countLease() {
      for (const { account, whose } of charges) {
        const excess = account.lease(traffic.nowMs());
        if (excess) return ends.abort(excessError(excess, whose));
      }
    },
    release() {
      ended.removeEventListener('abort', end);
      release();
    },
  };
}

function asProtocolErrors<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw protocolErrorOf(error);
  }
}

function protocolErrorOf(error: unknown): unknown {
  return error instanceof TokenRefused ? new ProtocolError(error.code, error.message, error.remedy) : error;
}
