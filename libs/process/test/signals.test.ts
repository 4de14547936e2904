import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { stopRequest } from '../src/index.js';

const processOn = (platform: string) => Object.assign(new EventEmitter(), { platform });

describe('a hang-up', () => {
  it.each([
    ['a terminal in use', [1], 'linux', true],
    ['a terminal for input only', [0], 'linux', true],
    ['nohup, which redirects all three streams', [], 'linux', false],
    ['nohup of BSD, which leaves standard input', [0], 'darwin', false],
  ] as const)('with %s', (_, terminals, platform, stops) => {
    const process = processOn(platform);
    const stop = stopRequest(process, (fd) => terminals.some((terminal) => terminal === fd));
    // Node ends a process that has no listener.
    expect(process.listenerCount('SIGHUP')).toBe(1);
    process.emit('SIGHUP');
    expect(stop.signal.aborted).toBe(stops);
  });
});

it.each(['SIGINT', 'SIGTERM', 'disconnect'])('%s always asks to stop', (event) => {
  const process = processOn('linux');
  const stop = stopRequest(process, () => false);
  process.emit(event);
  expect(stop.signal.aborted).toBe(true);
});
