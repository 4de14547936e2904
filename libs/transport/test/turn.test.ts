import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { turnCredentials } from '../src/webrtc/index.js';

describe('credentials for a TURN server', () => {
  it('are what coturn computes, for a known case', async () => {
    // printf %s 1700000600:worker-3 | openssl dgst -sha1 -hmac north -binary | base64
    const credentials = await turnCredentials({ secret: 'north', user: 'worker-3', nowMs: 1_700_000_000_999 }, crypto.subtle);
    expect(credentials).toEqual({ username: '1700000600:worker-3', credential: 'S0srOLfUqRG6KkQvGrcOTfN4158=' });
  });

  it('expire when they are told to, and depend on the secret and the user', async () => {
    const access = { secret: 'a secret with ünïcode', user: 'w', ttlS: 60, nowMs: 5_000 };
    const { username, credential } = await turnCredentials(access, crypto.subtle);
    expect(username).toBe('65:w');
    expect(credential).toBe(createHmac('sha1', access.secret).update('65:w').digest('base64'));
    for (const change of [{ secret: 'another' }, { user: 'v' }]) {
      expect((await turnCredentials({ ...access, ...change }, crypto.subtle)).credential).not.toBe(credential);
    }
  });

  it('refuse a user that would move the time of expiry', async () => {
    await expect(turnCredentials({ secret: 's', user: '9999999999:w', nowMs: 0 }, crypto.subtle)).rejects.toThrow(RangeError);
  });
});
