import { expect, it } from 'vitest';
import { iceServersFor } from '../src/node/index.js';

it('each worker gets a password of its own for TURN servers, and none for STUN servers', () => {
  const access = { stun: ['stun:a'], turn: ['turn:b', 'turn:c'], turnSecret: 'north' };
  // printf %s 1700000600:worker-3 | openssl dgst -sha1 -hmac north -binary | base64
  expect(iceServersFor(access, 'worker-3', 1_700_000_000_999)).toEqual([
    { urls: ['stun:a'], username: '', credential: '' },
    { urls: ['turn:b', 'turn:c'], username: '1700000600:worker-3', credential: 'S0srOLfUqRG6KkQvGrcOTfN4158=' },
  ]);
  expect(iceServersFor({ stun: [], turn: [], turnSecret: undefined }, 'w', 0)).toEqual([]);
});
