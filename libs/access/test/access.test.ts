import { describe, expect, it } from 'vitest';
import {
  createToken,
  createTokenJudge,
  MAX_KEYS,
  MAX_TOKENS,
  NO_ACCESS,
  revokeTokens,
  rotateKeys,
  validityOf,
  type AccessState,
} from '../src/access.js';
import { chanceAt, DAY_MS, NOW_MS } from './fixture.js';

const WORKER = { scope: 'worker', label: 'room 3', lifetimeMs: 7 * DAY_MS } as const;
const create = (state: AccessState, nowMs = NOW_MS, request = WORKER) => createToken(state, request, chanceAt(nowMs));
const validity = (state: AccessState, token: string, nowMs = NOW_MS) => {
  const judge = createTokenJudge(state);
  const known = judge.recognise(token);
  return known && judge.validity(known, nowMs);
};

describe('a token', () => {
  it('is valid until it expires', () => {
    const { state, token, entry } = create(NO_ACCESS);
    expect(entry).toMatchObject({ scope: 'worker', label: 'room 3', createdAtMs: NOW_MS, expiresAtMs: NOW_MS + 7 * DAY_MS });
    expect(validity(state, token, entry.expiresAtMs - 1)).toBe('valid');
    expect(validity(state, token, entry.expiresAtMs)).toBe('expired');
    expect([validityOf(entry, entry.expiresAtMs - 1), validityOf(entry, entry.expiresAtMs)]).toEqual(['valid', 'expired']);
  });

  it('carries its scope and its quota', () => {
    const { state, token } = createToken(NO_ACCESS, { ...WORKER, scope: 'viewer', maxLinks: 3 }, chanceAt());
    expect(createTokenJudge(state).recognise(token)).toMatchObject({ scope: 'viewer', maxLinks: 3 });
  });

  it('is not kept: the list has only what describes it', () => {
    const { state, token } = create(NO_ACCESS);
    expect(JSON.stringify(state.tokens)).not.toContain(token.split('.')[2]);
    expect(Object.keys(state.tokens[0]).sort()).toEqual(['createdAtMs', 'expiresAtMs', 'id', 'keyId', 'label', 'scope']);
  });

  it('that is revoked stays revoked, and the others stay valid', () => {
    const first = create(NO_ACCESS);
    const second = create(first.state);
    const state = revokeTokens(second.state, [first.entry.id], NOW_MS + 5);
    expect([validity(state, first.token), validity(state, second.token)]).toEqual(['revoked', 'valid']);
    expect(validity(state, first.token, first.entry.expiresAtMs)).toBe('revoked');
    expect(revokeTokens(state, [first.entry.id], NOW_MS + 9).tokens[0].revokedAtMs).toBe(NOW_MS + 5);
  });

  it('that is not known cannot be revoked, and then none is', () => {
    const { state, entry } = create(NO_ACCESS);
    const error = { code: 'no_such_token', remedy: expect.stringContaining('troupe token list') };
    expect(() => revokeTokens(state, [entry.id, 'ffffffffff'], NOW_MS)).toThrow(expect.objectContaining(error));
  });

  it('is signed by the same key as the one before', () => {
    const first = create(NO_ACCESS);
    expect(create(first.state).state.keys).toEqual(first.state.keys);
  });

  it('of other keys is not recognised', () => {
    const { token } = create(NO_ACCESS);
    expect(validity(create(NO_ACCESS).state, token)).toBeUndefined();
  });

  it('is refused when there are too many', () => {
    const { state } = create(NO_ACCESS);
    const full = { ...state, tokens: Array.from({ length: MAX_TOKENS }, () => state.tokens[0]) };
    expect(() => create(full)).toThrow(expect.objectContaining({ code: 'too_many_tokens' }));
    // Those that expired long ago make room.
    expect(create(full, NOW_MS + 40 * DAY_MS).state.tokens).toHaveLength(1);
  });
});

describe('a rotation', () => {
  it('signs with another key, and keeps the earlier tokens', () => {
    const before = create(NO_ACCESS);
    const rotated = rotateKeys(before.state, false, chanceAt());
    expect(rotated.keys.map(({ state }) => state)).toEqual(['verifying', 'signing']);
    const after = create(rotated);
    expect(after.entry.keyId).not.toBe(before.entry.keyId);
    expect([validity(after.state, before.token), validity(after.state, after.token)]).toEqual(['valid', 'valid']);
  });

  it('revokes the earlier tokens if it is told to, also in the list', () => {
    const before = create(NO_ACCESS);
    const after = create(rotateKeys(before.state, true, chanceAt()));
    expect([validity(after.state, before.token), validity(after.state, after.token)]).toEqual(['revoked', 'valid']);
    expect(after.state.tokens.map((entry) => validityOf(entry, NOW_MS))).toEqual(['revoked', 'valid']);
    // A later one does not bring them back.
    expect(validity(rotateKeys(after.state, false, chanceAt()), before.token)).toBe('revoked');
  });

  it('forgets a key when the last of its tokens has expired', () => {
    const before = create(NO_ACCESS);
    const rotated = rotateKeys(before.state, false, chanceAt());
    const later = create(rotated, NOW_MS + 8 * DAY_MS);
    expect(later.state.keys.map(({ state }) => state)).toEqual(['signing']);
    // Still listed, for a while.
    expect(later.state.tokens).toHaveLength(2);
    expect(validity(later.state, before.token, NOW_MS)).toBeUndefined();
  });

  it('is refused while too many keys are needed', () => {
    let state: AccessState = NO_ACCESS;
    for (let i = 0; i < MAX_KEYS - 1; i++) state = rotateKeys(create(state).state, false, chanceAt());
    expect(state.keys).toHaveLength(MAX_KEYS);
    expect(() => rotateKeys(create(state).state, false, chanceAt())).toThrow(expect.objectContaining({ code: 'too_many_keys' }));
  });

  it('that revokes is never refused: once there is no room for another key, tokens of the oldest are unknown instead of revoked', () => {
    const made: string[] = [];
    let state: AccessState = NO_ACCESS;
    for (let i = 0; i < MAX_KEYS; i++) {
      const { token, state: next } = create(state);
      made.push(token);
      state = i < MAX_KEYS - 1 ? rotateKeys(next, false, chanceAt()) : next;
    }
    expect(state.keys).toHaveLength(MAX_KEYS);
    const rotated = rotateKeys(state, true, chanceAt());
    expect(rotated.keys.map((key) => key.state)).toEqual([...Array(MAX_KEYS - 1).fill('revoked'), 'signing']);
    expect(made.map((token) => validity(rotated, token))).toEqual([undefined, ...Array(MAX_KEYS - 1).fill('revoked')]);
    // The revoked keys are also the first to make room for a rotation that revokes nothing.
    const { state: again, token } = create(rotated);
    expect(validity(rotateKeys(again, false, chanceAt()), token)).toBe('valid');
  });

  it('drops keys that were revoked earlier before those that it revokes itself', () => {
    const old = create(NO_ACCESS);
    let state = rotateKeys(old.state, false, chanceAt());
    for (let i = 0; i < MAX_KEYS - 2; i++) state = rotateKeys(create(state).state, false, chanceAt());
    const { state: full } = create(state);
    // The second key alone is revoked already.
    const mixed = { ...full, keys: full.keys.map((key, i) => (i === 1 ? { ...key, state: 'revoked' as const } : key)) };
    const kept = rotateKeys(mixed, true, chanceAt()).keys.map(({ id }) => id);
    expect(kept).toContain(full.keys[0].id);
    expect(kept).not.toContain(full.keys[1].id);
  });
});

it('a token whose key somebody removed from the file is revoked', () => {
  const { state, token } = create(NO_ACCESS);
  const known = createTokenJudge(state).recognise(token)!;
  expect(createTokenJudge(NO_ACCESS).validity(known, NOW_MS)).toBe('revoked');
});
