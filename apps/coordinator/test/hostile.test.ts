import fs from 'node:fs/promises';
import type { Gradient } from '@troupe/model';
import { afterEach, describe, expect, it } from 'vitest';
import { scratch, startCoordinator, type RunningCoordinator } from './running.js';

const VOLUNTEERS = 'token-of-volunteers';
let coordinator: RunningCoordinator;
let folder: string;

afterEach(async () => {
  await coordinator.stop().catch(() => undefined);
  await fs.rm(folder, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<void> {
  folder = await scratch();
  coordinator = await startCoordinator('--out', folder, '--volunteer-token', VOLUNTEERS, ...flags);
}

const flipped = (result: Gradient): Gradient => ({ ...result, gradient: result.gradient.map((value) => -value) });
const bans = () =>
  coordinator.events.flatMap((event) =>
    event.event === 'decision' && event.decision.kind === 'auditFailed' ? [event.decision] : [],
  );

describe('a coordinator', () => {
  it('bans a volunteer that lies, keeps honest ones, and lets nothing of it count', async () => {
    await start('--rounds=1000000', '--codec=fp16');
    coordinator.join('honest', { token: VOLUNTEERS });
    const liar = coordinator.join('liar', { token: VOLUNTEERS, lie: flipped });
    expect(await liar.done).toBe('ended');
    expect(bans()).toEqual([
      expect.objectContaining({ worker: 'liar', reason: expect.stringMatching(/off by 200 % of the norm/) }),
    ]);
    expect(bans()[0].since).toBeUndefined();
    expect(await coordinator.join('liar', { token: VOLUNTEERS }).done).toMatchObject({ code: 'banned' });
    const { json } = await coordinator.ask('/api/run', { token: 'token-of-admins' });
    const rows = json.workers as { name: string; audits?: { passed: number } }[];
    expect(rows.find(({ name }) => name === 'honest')?.audits?.passed).toBeGreaterThan(0);
  });

  it('goes back, by itself, to a checkpoint that a lie has not touched, and goes on', async () => {
    await start('--rounds=400', '--checkpoint-every=20', '--eval-every=0', '--lr=0.0001');
    coordinator.join('honest', { token: VOLUNTEERS });
    coordinator.join('turning', { token: VOLUNTEERS, lie: (result, computed) => (computed < 40 ? result : flipped(result)) });
    await coordinator.ended;
    expect(bans()).toEqual([expect.objectContaining({ worker: 'turning', since: expect.any(Number) })]);
    const since = bans()[0].since!;
    const continued = coordinator.events.filter((event) => event.event === 'started').map(({ round }) => round);
    expect(continued).toHaveLength(2);
    expect(continued[1]).toBeLessThanOrEqual(since);
    expect(await fs.readdir(folder)).toContainEqual(expect.stringMatching(/\.tainted$/));
    expect(coordinator.events).toContainEqual(expect.objectContaining({ event: 'finished', round: 400 }));
  });
});
