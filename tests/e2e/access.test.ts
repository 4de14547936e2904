/** Signed tokens in real processes: made, used and revoked by commands, while the run goes on. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { at, end, named, run, scratch, SMALL, start, type Line, type Running } from './troupe.js';

const TOKEN = 'the-token-of-this-test';
/** Enough for the commands of the test, which end the run when they are done. */
const ENDLESS = ['--rounds', '100000000'];

let cwd = '';
const started: Running[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  await Promise.all(started.map(end));
  await fs.rm(cwd, { recursive: true, force: true });
});

function launch(args: readonly string[], token = TOKEN): Running {
  const running = start(args, { cwd, env: { TROUPE_TOKEN: token } });
  started.push(running);
  return running;
}

interface Made {
  readonly id: string;
  readonly token: string;
}
async function command(...args: string[]): Promise<Line> {
  const { code, stdout, stderr } = await run(['token', ...args, '--json'], { cwd });
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout) as Line;
}
const make = async (...args: string[]): Promise<Made> => (await command('create', ...args)) as unknown as Made;

describe('a worker with a signed token', () => {
  it('joins, and ends with a remedy when it is revoked; the others finish the run, and no output has a token', async () => {
    // The file does not exist when the coordinator starts: no restart is needed.
    const coordinator = launch(['coordinator', ...SMALL, ...ENDLESS, '--port', '0', '--out', 'run', '--json']);
    const { address } = await coordinator.line(named('listening'));
    const work = (name: string, own = TOKEN) =>
      launch(['worker', address as string, '--engine', 'wasm', '--name', name, '--json'], own);
    const other = work('other');
    await coordinator.line(at(5));
    const { id, token } = await make('--scope', 'worker', '--label', 'guest');
    await coordinator.line((line) => line.event === 'note' && /access file has changed/.test(line.text as string));
    const guest = work('guest', token);
    await guest.line(({ kind }) => kind === 'computed');

    await command('revoke', id);
    const { code, stderr } = await guest.exited;
    expect(code).not.toBe(0);
    expect(stderr).toMatch(new RegExp(`^The token ${id} was revoked\\.\\n.*token create --scope worker\\n$`, 'i'));
    expect(guest.lines.filter(({ kind }) => kind === 'connecting').length).toBeLessThanOrEqual(2);
    const left = await coordinator.line((line) => line.event === 'worker' && line.change === 'left');
    expect(left).toMatchObject({ name: 'guest', reason: `the token ${id} was revoked`, workers: 1 });

    // The other has noticed nothing.
    const round = coordinator.lines.filter(named('round')).at(-1)!.round as number;
    await coordinator.line(at(round + 20));
    expect(other.lines.filter(({ kind }) => kind === 'connecting' || kind === 'lost')).toHaveLength(1);
    coordinator.child.kill('SIGTERM');
    expect((await coordinator.exited).code).toBe(0);
    expect(await coordinator.line(named('finished'))).toMatchObject({ reason: 'stopped' });
    expect(await other.exited).toMatchObject({ code: 0, stderr: '' });

    const [, , signature] = token.split('.');
    const { tokens } = (await command('list')) as unknown as { tokens: object[] };
    expect(tokens).toMatchObject([{ id, label: 'guest', state: 'revoked' }]);
    for (const text of [coordinator.text(), guest.text(), stderr, JSON.stringify(tokens)]) expect(text).not.toContain(signature);
    expect(await fs.readdir(path.join(cwd, 'runs'))).toEqual(['access.json']);
  });
});

it('a coordinator does not start with an access file that it cannot read, and says what to do', async () => {
  await fs.writeFile(path.join(cwd, 'broken.json'), '{');
  const flags = ['--port', '0', '--out', 'third', '--access-file', 'broken.json'];
  expect(await launch(['coordinator', ...SMALL, ...flags]).exited).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/broken\.json cannot be used: it is not JSON\.\n.*rm -- broken\.json/) as string,
  });
});
