/** The credits of a real run: who may see them, what they hold, and that they survive a crash. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { CreditsView } from '@troupe/run';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN, scratch, SMALL_CHARACTERS, startCoordinator, TOKEN, type RunningCoordinator } from './running.js';

let cwd = '';
const running: RunningCoordinator[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});
afterAll(() => fs.rm(cwd, { recursive: true, force: true }));

async function coordinate(...flags: string[]): Promise<RunningCoordinator> {
  const run = await startCoordinator('--eval-every=0', '--sample-every=0', ...flags);
  running.push(run);
  return run;
}

const creditsOf = async (run: RunningCoordinator, token?: string): Promise<CreditsView> =>
  (await run.ask('/api/credits', token === undefined ? {} : { token })).json as CreditsView;

describe('the credits', () => {
  it('are there for holders of the workers token, by name only for those who want it', async () => {
    const run = await coordinate('--rounds=1000000', `--out=${path.join(cwd, 'named')}`);
    run.join('Shy');
    await run.round(5);
    expect(await creditsOf(run, TOKEN)).toMatchObject({ named: 0, names: [] });
    run.join('Ada\u001b[2J\u202e <b>', { credited: { team: 'Room 214' } });
    run.join('10.1.2.3', { credited: { team: '' } });
    await expect.poll(async () => (await creditsOf(run, TOKEN)).named, { timeout: 10_000 }).toBe(2);
    const { anonymous, characters, names, teams } = await creditsOf(run, ADMIN);
    expect(names.map(({ name, team }) => [name, team]).sort()).toEqual([
      ['(address hidden)', ''],
      ['Ada [2J <b>', 'Room 214'],
    ]);
    expect(teams).toMatchObject([{ team: 'Room 214', names: 1 }]);
    expect(anonymous).toBeGreaterThan(0);
    expect(names.reduce((sum, one) => sum + one.characters, anonymous)).toBe(characters);
    expect(characters % SMALL_CHARACTERS).toBe(0);
    expect((await run.ask('/api/credits')).status).toBe(401);
  });

  it('need no token in a public run', async () => {
    const run = await coordinate('--rounds=1000000', '--public', `--out=${path.join(cwd, 'public')}`);
    expect(await creditsOf(run)).toEqual({ characters: 0, anonymous: 0, named: 0, names: [], teams: [] });
  });

  it('change nothing of the model', async () => {
    const last = async (folder: string, credited?: { readonly team: string }): Promise<Buffer> => {
      const out = path.join(cwd, folder);
      const run = await coordinate('--reproducible', '--rounds=8', '--checkpoint-every=2', `--out=${out}`);
      run.join('somebody', { credited });
      await run.ended;
      return fs.readFile(path.join(out, 'round-00000008.safetensors'));
    };
    expect((await last('credited', { team: 'Room 214' })).equals(await last('anonymous'))).toBe(true);
  });

  it('are those of the rounds of the checkpoint after a crash, and no others', async () => {
    const out = path.join(cwd, 'crashed');
    const run = await coordinate('--rounds=1000000', '--checkpoint-every=10', `--out=${out}`);
    run.join('Ada', { credited: { team: '' } });
    await run.event('checkpoint');
    await run.round(15);
    await run.stop();
    // As a crash leaves it: the newest checkpoint is that of round 10.
    const saved = (await fs.readdir(out)).filter((name) => /^round-\d+\.safetensors$/.test(name)).sort();
    const kept = saved.find((name) => Number(/\d+/.exec(name)![0]) % 10 === 0)!;
    for (const name of saved) if (name !== kept) await fs.rm(path.join(out, name));
    const round = Number(/\d+/.exec(kept)![0]);

    const again = await coordinate('--resume', '--rounds=1000000', `--out=${out}`);
    const resumed = await creditsOf(again, TOKEN);
    expect(resumed).toEqual({
      ...{ characters: round * SMALL_CHARACTERS, anonymous: 0, named: 1, teams: [] },
      names: [{ name: 'Ada', team: '', characters: round * SMALL_CHARACTERS }],
    });
    again.join('Ada', { credited: { team: '' } });
    await again.round(round + 5);
    await expect
      .poll(async () => (await creditsOf(again, TOKEN)).characters, { timeout: 10_000 })
      .toBeGreaterThanOrEqual((round + 5) * SMALL_CHARACTERS);
    expect((await creditsOf(again, TOKEN)).named).toBe(1);
  });
});
