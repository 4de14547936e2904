import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { onStopRequest, RestartLimit } from '../src/processes.js';
import { programName } from '../src/shell.js';
import { loopback } from '../src/training.js';

describe('RestartLimit', () => {
  it('doubles the delay with each failure, jittered down to half', () => {
    const atMost = new RestartLimit(100, () => 0.999999);
    const atLeast = new RestartLimit(100, () => 0);
    expect([1, 2, 3, 4].map((at) => Math.round(atMost.delayAfter(at)!))).toEqual([100, 200, 400, 800]);
    expect([1, 2, 3, 4].map((at) => Math.round(atLeast.delayAfter(at)!))).toEqual([50, 100, 200, 400]);
  });

  it('gives up at the sixth failure within a minute', () => {
    const limit = new RestartLimit(100, () => 0);
    for (let i = 0; i < 5; i++) expect(limit.delayAfter(i * 1000)).toBeDefined();
    expect(limit.delayAfter(5000)).toBeUndefined();
  });

  it('forgets failures older than a minute', () => {
    const limit = new RestartLimit(100, () => 0);
    for (let i = 0; i < 5; i++) limit.delayAfter(i);
    expect(limit.delayAfter(61_000)).toBe(50);
  });
});

describe('onStopRequest', () => {
  function requests(times: readonly number[]): string[] {
    const signals = new EventEmitter();
    const heard: string[] = [];
    let now = 0;
    const forget = onStopRequest(
      { signals, stopSignals: ['SIGINT'], now: () => now },
      () => heard.push('first'),
      () => heard.push('again'),
    );
    for (now of times) signals.emit('SIGINT');
    forget();
    signals.emit('SIGINT');
    return heard;
  }

  it('distinguishes the second request from the first', () => expect(requests([0, 1000])).toEqual(['first', 'again']));

  it('treats the Ctrl-C that npm passes on as the same request', () => expect(requests([0, 20])).toEqual(['first']));
});

describe('loopback', () => {
  it.each([
    ['ws://0.0.0.0:7070', 'ws://127.0.0.1:7070'],
    ['ws://[::]:7070', 'ws://127.0.0.1:7070'],
    ['ws://192.168.1.20:7070/', 'ws://192.168.1.20:7070'],
    ['http://localhost:80', 'ws://localhost:80'],
  ])('connects workers for %s to %s', (address, expected) => expect(loopback(address)).toBe(expected));
});

describe('programName', () => {
  const cli = '/home/a/troupe/apps/cli/bin/troupe.mjs';
  it.each([
    ['npm run troupe --', { npm_command: 'run-script' }, '/home/a/troupe'],
    ['npm run troupe --', { npm_command: 'start' }, '/home/a/troupe'],
    ['node apps/cli/bin/troupe.mjs', { npm_command: 'exec' }, '/home/a/troupe'],
    ['node apps/cli/bin/troupe.mjs', {}, '/home/a/troupe'],
    [`node ${cli}`, { npm_command: 'exec' }, '/home/a/texts'],
  ])('runs this copy of Troupe: %s', (expected, env, cwd) => expect(programName(cli, env, cwd)).toBe(expected));

  it('is troupe only where the shell finds this installation by that name', () => {
    const installed = '/opt/lab/lib/node_modules/troupe/apps/cli/bin/troupe.mjs';
    const links = new Map([
      ['/opt/lab/bin/troupe', installed],
      ['/usr/bin/troupe', '/usr/lib/node_modules/troupe/apps/cli/bin/troupe.mjs'],
      [installed, installed],
    ]);
    const typed = (file: string, PATH?: string) => programName(file, { PATH }, '/home/a', (path) => links.get(path));
    expect(typed('/opt/lab/bin/troupe', '/bin:/opt/lab/bin:/usr/bin')).toBe('troupe');
    expect(typed('/opt/lab/bin/troupe', '/usr/bin:/opt/lab/bin')).toBe('/opt/lab/bin/troupe');
    expect(typed('/opt/lab/bin/troupe')).toBe('/opt/lab/bin/troupe');
    expect(typed(installed)).toBe(`node ${installed}`);
  });

  it('is no script of npm in an installation', () => {
    const installed = '/home/a/texts/node_modules/troupe/apps/cli/bin/troupe.mjs';
    expect(programName(installed, { npm_command: 'run-script' }, '/home/a/texts')).toBe(
      'node node_modules/troupe/apps/cli/bin/troupe.mjs',
    );
  });

  it('is quoted for the shell', () => {
    expect(programName('/my files/troupe.mjs', {}, '/x')).toBe("node '/my files/troupe.mjs'");
  });
});
