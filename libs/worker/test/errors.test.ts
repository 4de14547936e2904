import { ProtocolError } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { refusalError, WorkerRefused } from '../src/errors.js';

const refused = (code: string, when: 'before the welcome' | 'after the welcome' = 'after the welcome') =>
  refusalError({ type: 'refuse', code, message: 'no', remedy: 'Ask.' }, when);

describe('a refusal', () => {
  it.each(['wrong_token', 'token_expired', 'token_revoked', 'wrong_scope', 'run_over', 'layout_mismatch', 'banned'])(
    'with %s is final, in mid-run too',
    (code) => {
      expect(refused(code)).toBeInstanceOf(WorkerRefused);
      expect(refused(code)).toMatchObject({ code, remedy: 'Ask.' });
    },
  );

  it.each(['run_full', 'too_many_links', 'rate_limited', 'internal', 'a code of a later release'])('with %s passes', (code) => {
    expect(refused(code)).toBeInstanceOf(ProtocolError);
  });
});
