import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { bearer, createAuth } from '../../src/web/auth.js';
import { createRig } from '../access/tokens.js';

const SECRETS = {
  token: 'worker secret',
  volunteerToken: 'volunteer secret',
  adminToken: 'admin secret',
  metricsToken: 'metrics secret',
};
const rig = createRig();
const { signed } = rig;
const closed = createAuth({ ...SECRETS, signed, public: false });
const open = createAuth({ ...SECRETS, signed, public: true });
const NEEDS = ['worker', 'join', 'metrics', 'read', 'admin'] as const;
const refused = (code: string) => expect.objectContaining({ name: 'ApiFailure', code, remedy: expect.stringMatching(/./) });
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage;

describe('tokens', () => {
  it('of admins grant everything', () => {
    for (const need of NEEDS) expect(closed.admit('admin secret', need)).toEqual(['read', 'admin']);
  });

  it('of workers grant the run, and nothing else', () => {
    expect(closed.admit('worker secret', 'worker')).toEqual([]);
    expect(closed.admit('worker secret', 'join')).toEqual([]);
    expect(() => closed.admit('worker secret', 'read')).toThrow(refused('wrong_token'));
    expect(() => closed.admit('worker secret', 'admin')).toThrow(refused('wrong_token'));
  });

  it('for metrics grant metrics, and nothing else', () => {
    expect(closed.admit('metrics secret', 'metrics')).toEqual([]);
    for (const need of ['worker', 'join', 'read', 'admin'] as const)
      expect(() => closed.admit('metrics secret', need)).toThrow(refused('wrong_token'));
    expect(() => closed.admit('worker secret', 'metrics')).toThrow(refused('wrong_token'));
    const none = createAuth({ ...SECRETS, signed, metricsToken: undefined, public: false });
    expect(() => none.admit('', 'metrics')).toThrow(refused('wrong_token'));
  });

  it('are not needed to read a public run, but to control it', () => {
    expect(open.admit(undefined, 'read')).toEqual(['read']);
    expect(open.admit('worker secret', 'read')).toEqual(['read']);
    expect(() => open.admit(undefined, 'admin')).toThrow(refused('no_token'));
  });

  it('are needed to join a public run', () => {
    expect(open.admit('worker secret', 'join')).toEqual(['read']);
    expect(() => open.admit(undefined, 'join')).toThrow(refused('no_token'));
    expect(() => open.admit('metrics secret', 'join')).toThrow(refused('wrong_token'));
  });

  it.each(['', 'admin secre', 'admin secret ', 'ADMIN SECRET', 'x'.repeat(100_000)])(
    'that are wrong grant nothing: %.20s',
    (token) => {
      for (const auth of [closed, open]) {
        for (const need of NEEDS) expect(() => auth.admit(token, need)).toThrow(refused('wrong_token'));
      }
    },
  );

  it('that are empty grant nothing, not even where a secret is empty by mistake', () => {
    const careless = createAuth({ token: '', volunteerToken: '', adminToken: '', metricsToken: '', signed, public: false });
    for (const need of NEEDS) expect(() => careless.admit('', need)).toThrow(refused('wrong_token'));
  });

  it('are required', () => {
    expect(() => closed.admit(undefined, 'worker')).toThrow(refused('no_token'));
  });

  it('are sent as bearer tokens', () => {
    expect(bearer(request({}))).toBeUndefined();
    expect(bearer(request({ authorization: 'Bearer abc' }))).toBe('abc');
    expect(bearer(request({ authorization: 'bearer  abc ' }))).toBe('abc');
    expect(bearer(request({ authorization: 'Basic abc' }))).toBe('');
  });
});

describe('signed tokens', () => {
  it.each([
    ['worker', ['worker', 'join'], ['worker', 'join', 'metrics', 'read']],
    ['volunteer', ['worker'], ['worker', 'metrics', 'read']],
    ['viewer', ['worker', 'metrics', 'read'], ['worker', 'metrics', 'read']],
    ['admin', NEEDS, NEEDS],
  ] as const)('of scope %s grant %j, and %j in a public run', (scope, inClosed, inOpen) => {
    const { token } = rig.make(scope);
    for (const [auth, granted] of [
      [closed, inClosed],
      [open, inOpen],
    ] as const) {
      for (const need of NEEDS) {
        if (granted.some((one) => one === need)) {
          const access = granted.filter((one) => one === 'read' || one === 'admin');
          expect(auth.admit(token, need)).toEqual(access);
          expect(auth.hold(token, need).access).toEqual(access);
        } else {
          const error = expect.objectContaining({
            status: 403,
            code: 'wrong_scope',
            remedy: expect.stringMatching(/token create/),
          });
          expect(() => auth.admit(token, need)).toThrow(error);
          expect(() => auth.hold(token, need)).toThrow(error);
        }
      }
    }
  });

  it('that are not valid grant nothing, in a public run neither', () => {
    const { token, id } = rig.make('admin');
    rig.revoke(id);
    for (const auth of [closed, open]) {
      for (const need of NEEDS) expect(() => auth.admit(token, need)).toThrow(refused('token_revoked'));
      expect(() => auth.admit('troupe_v1.guess', 'worker')).toThrow(refused('wrong_token'));
    }
  });

  it('hold a link until it is released, and as many as they may', () => {
    const { token, id } = rig.make('viewer', 1);
    const link = closed.hold(token, 'read');
    expect(() => closed.hold(token, 'read')).toThrow(expect.objectContaining({ status: 429, code: 'too_many_links' }));
    link.release();
    const { ended } = closed.hold(token, 'read');
    rig.revoke(id);
    expect(ended!.reason).toEqual(expect.objectContaining({ name: 'ApiFailure', status: 401, code: 'token_revoked' }));
  });

  it('do not end links of other tokens, nor of none', () => {
    expect(closed.hold('admin secret', 'read')).toMatchObject({ access: ['read', 'admin'] });
    expect(closed.hold('admin secret', 'read').ended).toBeUndefined();
    expect(open.hold(undefined, 'read')).toMatchObject({ access: ['read'] });
    expect(() => closed.hold(undefined, 'read')).toThrow(refused('no_token'));
  });
});
