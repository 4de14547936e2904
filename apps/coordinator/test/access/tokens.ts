/** Signed tokens for tests. */
import { createToken, NO_ACCESS, revokeTokens, type AccessState, type Scope } from '@troupe/access';
import { capTable, createCaps } from '../../src/server/caps.js';
import { createSignedTokens } from '../../src/access/signed-tokens.js';

export interface Mint {
  readonly state: AccessState;
  make(scope: Scope, maxLinks?: number): { readonly token: string; readonly id: string };
  revoke(id: string): void;
}

/** Makes tokens that are valid for an hour from `nowMs` on. */
export function createMint(nowMs: () => number): Mint {
  let state = NO_ACCESS;
  let next = 0;
  const random = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, () => next++ % 251);
  return {
    get state() {
      return state;
    },
    make(scope, maxLinks) {
      const request = { scope, label: '', lifetimeMs: 3_600_000, maxLinks };
      const made = createToken(state, request, { nowMs: nowMs(), random });
      ({ state } = made);
      return { token: made.token, id: made.entry.id };
    },
    revoke(id) {
      state = revokeTokens(state, [id], nowMs());
    },
  };
}

/** Signed tokens, a clock, and what makes the tokens. */
export function createRig(caps = createCaps(capTable(1))) {
  const clock = { nowMs: 1_770_000_000_000 };
  const mint = createMint(() => clock.nowMs);
  const signed = createSignedTokens({ caps, now: () => clock.nowMs, nowMs: () => clock.nowMs, program: 'troupe' });
  /** As when the coordinator has read the file again. */
  const use = (): void => signed.use(mint.state);
  const make: Mint['make'] = (...of) => {
    const made = mint.make(...of);
    use();
    return made;
  };
  const revoke = (id: string): void => {
    mint.revoke(id);
    use();
  };
  return { clock, signed, make, revoke };
}
