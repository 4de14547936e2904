import type { LiveMessage, RunView } from '@troupe/run';
import { describe, expect, it } from 'vitest';
import { hasToken, receive, takeToken, type Access } from '../src/reading/access.js';

describe('the admin token', () => {
  it('is taken out of the fragment, and the rest stays', () => {
    expect(takeToken('#admin=abc')).toEqual({ token: 'abc', rest: '' });
    expect(takeToken('#workers&admin=a%2Bb')).toEqual({ token: 'a+b', rest: '#workers' });
    expect(takeToken('#admin=100%')).toEqual({ token: '100%', rest: '' });
  });

  it('may be that of a viewer', () => {
    expect(takeToken('#token=troupe_v1.abc.def')).toEqual({ token: 'troupe_v1.abc.def', rest: '' });
    expect(takeToken('#token=viewer&admin=abc')).toEqual({ token: 'abc', rest: '' });
    expect([hasToken('#token=abc'), hasToken('#admin=abc'), hasToken('#charts'), hasToken('')]).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  it('is absent when there is none', () => {
    expect(takeToken('')).toEqual({ token: undefined, rest: '' });
    expect(takeToken('#charts')).toEqual({ token: undefined, rest: '#charts' });
    expect(takeToken('#admin=').token).toBeUndefined();
  });
});

describe('a message of the live link', () => {
  const NO_TOKEN: Access = { token: undefined, refusal: undefined };
  const refused = (text: string) => ({ type: 'refused', code: 'wrong_token', message: text, remedy: '' }) as const;
  const hello: LiveMessage = { type: 'hello', view: {} as RunView, lastRound: 0, lastEvent: 0 };

  it('that refuses the token makes the page try without it', () => {
    const reception = receive({ token: 'guess', refusal: undefined }, refused('wrong token'));
    expect(reception.access.token).toBeUndefined();
    expect(reception.retries).toBe(true);
    expect(reception.message).toBeUndefined();
  });

  it('that came before the token did makes the page try again with it', () => {
    const access: Access = { token: 'token', refusal: undefined };
    const late = { ...refused('this takes a token'), code: 'no_token' };
    expect(receive(access, late)).toEqual({ access, retries: true, announces: undefined, message: undefined });
  });

  it('that also refuses the page without a token shows why the token was refused', () => {
    const { access } = receive({ token: 'guess', refusal: undefined }, refused('wrong token'));
    const reception = receive(access, refused('a token is needed'));
    expect(reception.message).toMatchObject({ message: 'wrong token' });
    expect(reception.retries).toBe(false);
    expect(reception.access).toEqual(NO_TOKEN);
  });

  it('that refuses a page which never had a token says so itself', () => {
    expect(receive(NO_TOKEN, refused('a token is needed')).message).toMatchObject({ message: 'a token is needed' });
  });

  it('that welcomes the page without its token announces the refusal, once', () => {
    const { access } = receive({ token: 'guess', refusal: undefined }, refused('wrong token'));
    const welcomed = receive(access, hello);
    expect(welcomed.announces?.message).toBe('wrong token');
    expect(welcomed.message).toBe(hello);
    expect(receive(welcomed.access, hello).announces).toBeUndefined();
  });

  it('that updates the page changes nothing about its access', () => {
    const access: Access = { token: 'token', refusal: undefined };
    expect(receive(access, { type: 'update' })).toEqual({
      access,
      retries: false,
      announces: undefined,
      message: { type: 'update' },
    });
  });
});
