/**
 * Counts wrong tokens by address, and answers them later and later: guessing becomes slow and is seen. A right token is never delayed, so
 * nobody is locked out by others at the same address.
 */
import { LIMITS } from '@troupe/protocol';
import type { Report } from '../reporter.js';

export interface WrongTokensOptions {
  /** Monotonic, ms. */
  nowMs(): number;
  sleep(ms: number): Promise<unknown>;
  readonly report: Report;
}

export interface WrongTokens {
  /** Counts one. Resolves when it may be refused. @param address see `addressKey`; undefined: this machine */
  counted(address: string | undefined): Promise<void>;
}

interface Count {
  readonly times: number;
  readonly lastMs: number;
}

export function createWrongTokens({ nowMs, sleep, report }: WrongTokensOptions): WrongTokens {
  /** The address with the oldest wrong token first. */
  const counts = new Map<string, Count>();
  return {
    async counted(from) {
      const address = from ?? 'this machine';
      const now = nowMs();
      const before = counts.get(address);
      const isRecent = before !== undefined && now - before.lastMs < LIMITS.wrongTokensForgottenMs;
      const times = (isRecent ? before.times : 0) + 1;
      counts.delete(address);
      counts.set(address, { times, lastMs: now });
      if (counts.size > LIMITS.wrongTokenAddresses) counts.delete(counts.keys().next().value!);
      if (isPowerOfTen(times)) report({ event: 'note', level: 'warn', ...describe(times, address) });
      // As with the caps, users of this machine need no protection from themselves.
      if (from !== undefined && times > LIMITS.wrongTokensAtOnce) await sleep(LIMITS.wrongTokenMs);
    },
  };
}

function describe(times: number, address: string): { readonly text: string; readonly remedy: string } {
  return {
    text: `${times.toLocaleString('en')} wrong tokens came from ${address}`,
    remedy: 'Wrong ones from other machines are refused slowly. If nobody there mistypes one, block the address in the firewall.',
  };
}

/** 10, 100, 1,000 and so on: the log grows with the logarithm of the attempts. */
function isPowerOfTen(times: number): boolean {
  return times > 1 && /^10+$/.test(String(times));
}
