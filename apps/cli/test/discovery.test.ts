import type { Discovery, FoundRun } from '@troupe/transport/discovery';
import { describe, expect, it } from 'vitest';
import { listOf } from '../src/commands/joining.js';
import { troupe, type SessionOptions } from './fixtures/shell.js';

const RUNS: readonly FoundRun[] = [
  { id: 'a', name: 'Sonnets', organizer: 'Ada', address: 'ws://10.0.0.5:7070' },
  { id: 'b', name: 'Tales', organizer: undefined, address: 'ws://127.0.0.1:9' },
];

/** `troupe worker` without an address. @param answers what a person types; undefined = there is no terminal */
async function work(found: Partial<Discovery>, answers?: readonly string[], env: Record<string, string> = {}) {
  const asked: string[] = [];
  const left = [...(answers ?? [])];
  const prompt = async (question: string): Promise<string> => {
    asked.push(question);
    return left.shift()!;
  };
  const discover = async (): Promise<Discovery> => ({ runs: [], asked: ['eth0, udp4'], problems: [], ...found });
  const shell: SessionOptions['shell'] = { discover, ...(answers === undefined ? {} : { prompt }) };
  const session = troupe(['worker'], { env, shell });
  return { code: await session.exitCode, stderr: session.stderr.text, asked };
}

describe('a worker without an address', () => {
  it('says why none may be found, and how to name one', async () => {
    const { code, stderr } = await work({});
    expect(code).toBe(1);
    expect(stderr).toMatch(/No coordinator answers.*\n.*troupe worker ws:\/\/HOST:7070\n.*multicast/);
    const offline = await work({ asked: [], problems: ['eth0, udp4: bind EADDRINUSE'] });
    expect(offline.stderr).toContain('no network that can be searched. eth0, udp4: bind EADDRINUSE.');
  });

  it('lists what is found and joins nothing if nobody is there to choose', async () => {
    const { code, stderr } = await work({ runs: RUNS }, undefined, { TROUPE_TOKEN: 'secret' });
    expect(code).toBe(2);
    expect(stderr).toContain(`${listOf(RUNS)}\n`);
    expect(stderr).toContain('Type: troupe worker ws://10.0.0.5:7070');
  });

  it('ends quietly if a person wants none', async () => {
    expect(await work({ runs: RUNS }, ['n'])).toMatchObject({ code: 130, asked: ['Which one? (1 to 2, or n for none) '] });
    expect(await work({ runs: RUNS.slice(1) }, ['no'])).toMatchObject({ code: 130, asked: ['Join it? (y/n) '] });
  });

  it('asks again until the answer is one, and then for the token', async () => {
    const { code, stderr, asked } = await work({ runs: RUNS }, ['', '0', '3', 'x', '2']);
    expect(asked).toHaveLength(5);
    expect(stderr).toContain('A worker needs the token of the run.');
    expect(code).toBe(2);
  });

  it('does not take an answer for yes that is none', async () => {
    const { asked } = await work({ runs: RUNS.slice(1) }, ['', 'maybe', 'y']);
    expect(asked).toHaveLength(3);
  });
});
