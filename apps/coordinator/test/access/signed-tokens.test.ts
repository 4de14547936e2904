import { describe, expect, it } from 'vitest';
import { createRig } from './tokens.js';

const refusal = (code: string, remedy = /./) =>
  expect.objectContaining({ name: 'TokenRefused', code, remedy: expect.stringMatching(remedy) });
const HOUR_MS = 3_600_000;

describe('a signed token', () => {
  it('is accepted until it expires, and then the refusal names the command for another', () => {
    const { signed, make, clock } = createRig();
    const { token } = make('volunteer');
    expect(signed.check(token)).toMatchObject({ scope: 'volunteer' });
    clock.nowMs += HOUR_MS;
    expect(() => signed.check(token)).toThrow(refusal('token_expired', /troupe token create --scope volunteer$/));
  });

  it('is refused once it is revoked', () => {
    const { signed, make, revoke } = createRig();
    const { token, id } = make('worker');
    revoke(id);
    expect(() => signed.check(token)).toThrow(refusal('token_revoked', /troupe token create --scope worker$/));
  });

  it('of another coordinator is wrong', () => {
    const { signed } = createRig();
    const other = createRig();
    const { token } = other.make('worker');
    expect(() => signed.check(token)).toThrow(refusal('wrong_token', /troupe token create/));
  });

  it('is not repeated when it is refused', () => {
    const { signed, make, revoke } = createRig();
    const { token, id } = make('worker');
    revoke(id);
    try {
      signed.check(token);
    } catch (error) {
      expect(JSON.stringify([(error as Error).message, error])).not.toContain(token.split('.')[2]);
    }
  });
});

describe('a link that is open because of a token', () => {
  it('ends when the token is revoked, and no other link does', () => {
    const { signed, make, revoke } = createRig();
    const [one, two] = [make('worker'), make('worker')];
    const [first, again, other] = [one, one, two].map(({ token }) => signed.hold(signed.check(token)));
    revoke(one.id);
    expect([first, again, other].map(({ ended }) => ended.aborted)).toEqual([true, true, false]);
    expect(first.ended.reason).toEqual(refusal('token_revoked'));
  });

  it('ends when the token expires', () => {
    const { signed, make, clock } = createRig();
    const { ended } = signed.hold(signed.check(make('worker').token));
    clock.nowMs += HOUR_MS - 1;
    signed.sweep();
    expect(ended.aborted).toBe(false);
    clock.nowMs += 1;
    signed.sweep();
    expect(ended.reason).toEqual(refusal('token_expired'));
  });

  it('counts until it is released, once', () => {
    const { signed, make } = createRig();
    const token = signed.check(make('worker', 2).token);
    const [first] = [signed.hold(token), signed.hold(token)];
    expect(() => signed.hold(token)).toThrow(refusal('too_many_links', /another token/));
    first.release();
    first.release();
    signed.hold(token);
    expect(() => signed.hold(token)).toThrow(refusal('too_many_links'));
  });

  it('has no end any more once it is released', () => {
    const { signed, make, revoke } = createRig();
    const { token, id } = make('worker');
    const { ended, release } = signed.hold(signed.check(token));
    release();
    revoke(id);
    expect(ended.aborted).toBe(false);
  });
});
