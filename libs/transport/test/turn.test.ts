import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { turnCredentials } from '../src/webrtc/index.js';

const hmacSha1 = (key: string, text: string): string => createHmac('sha1', key).update(text).digest('base64');

describe('credentials for a TURN server', () => {
  it('are what coturn computes, for a known case', () => {
    // printf %s 1700000600:worker-3 | openssl dgst -sha1 -hmac north -binary | base64
    const credentials = turnCredentials({ secret: 'north', user: 'worker-3', nowMs: 1_700_000_000_999 }, hmacSha1);
    expect(credentials).toEqual({ username: '1700000600:worker-3', credential: 'S0srOLfUqRG6KkQvGrcOTfN4158=' });
  });

  it('expire when they are told to, and depend on the secret and the user', () => {
    const access = { secret: 'a secret with ünïcode', user: 'w', ttlS: 60, nowMs: 5_000 };
    const { username, credential } = turnCredentials(access, hmacSha1);
    expect(username).toBe('65:w');
    expect(credential).toBe(hmacSha1(access.secret, '65:w'));
    for (const change of [{ secret: 'another' }, { user: 'v' }]) {
      expect(turnCredentials({ ...access, ...change }, hmacSha1).credential).not.toBe(credential);
    }
  });

  it('refuse a user that would move the time of expiry', () => {
    expect(() => turnCredentials({ secret: 's', user: '9999999999:w', nowMs: 0 }, hmacSha1)).toThrow(RangeError);
  });
});
