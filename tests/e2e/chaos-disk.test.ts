/**
 * Full, missing and read-only disks, and a coordinator killed while it writes: the last good
 * checkpoint survives.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { hashes } from './company.js';
import { byChance, type Chance } from './mischief.js';
import { appOf, at, end, named, scratch, signal, SMALL, start, type Line, type Running, type StartOptions } from './troupe.js';

// Takes seconds on two idle cores.
vi.setConfig({ testTimeout: 400_000, hookTimeout: 100_000 });

let cwd = '';
const started: Running[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  await Promise.all(started.map(end));
  await fs.rm(cwd, { recursive: true, force: true });
});

const TOKEN = 'a-token-of-this-test';
function launch(args: readonly string[], options: Partial<StartOptions> = {}): Running {
  const running = start(args, { cwd, env: { TROUPE_TOKEN: TOKEN }, ...options });
  started.push(running);
  return running;
}

const fileOf = (round: number): string => `round-${String(round).padStart(8, '0')}.safetensors`;
const notes = (lines: readonly Line[]): string =>
  lines
    .filter(named('note'))
    .map(({ text, remedy }) => `${text as string} ${remedy as string}`)
    .join('\n');

interface Crash {
  /** Rounds between checkpoints. */
  readonly every?: number;
  /** The event to wait for, given the round of the first checkpoint. */
  readonly moment: (firstSaved: number) => (line: Line) => boolean;
  /** Wait for the start of the next file too. */
  readonly inTheAct?: boolean;
  /** Milliseconds to wait after that. */
  readonly delayMs?: number;
}

/** Changes the folder of a stopped process, so that the process sees all changes at once. */
async function whileFrozen(pid: number, change: () => Promise<void>): Promise<void> {
  signal(pid, 'SIGSTOP');
  try {
    await change();
  } finally {
    signal(pid, 'SIGCONT');
  }
}

/**
 * Places where not even root may create a folder: a file system of the kernel, and below a file.
 */
const onLinux = process.platform === 'linux';
if (!onLinux) console.warn('SKIPPED: only Linux has a folder in which root may not write (/sys).');
const FORBIDDEN = [...(onLinux ? ['/sys/troupe'] : []), 'a-file/run'];

describe('a folder that cannot be written', () => {
  it.each(FORBIDDEN)(
    '%s is reported before the first round; the run continues, and reports at its end that it is not saved',
    async (out) => {
      await fs.writeFile(path.join(cwd, 'a-file'), 'not a folder');
      const flags = ['--rounds', '30', '--checkpoint-every', '10', '--out', out, '--json'];
      const training = launch(['train', ...SMALL, ...flags, '--workers', '1']);
      expect((await training.exited).code).toBe(1);
      const { lines } = training;
      const noted = lines.findIndex((line) => line.event === 'note' && (line.text as string).includes(out));
      expect(noted).toBeGreaterThanOrEqual(0);
      expect(lines[noted].remedy).toMatch(/--out|writable/);
      expect(lines.findIndex(named('round'))).toBeGreaterThan(noted);
      expect(lines.filter(named('round')).at(-1)?.round).toBe(30);
      expect(lines.find(named('error'))).toMatchObject({ code: 'not_saved' });
      expect(lines.some(named('checkpoint'))).toBe(false);
    },
  );

  it('delays no round when it disappears during a run, and is used again when it is back', async () => {
    const [folder, aside] = [path.join(cwd, 'lost'), path.join(cwd, 'lost-aside')];
    const flags = ['--rounds', '1000000', '--eval-every', '0', '--checkpoint-every', '5', '--out', 'lost', '--json'];
    const training = launch(['train', ...SMALL, ...flags, '--workers', '1']);
    await training.line(named('checkpoint'));
    const app = await appOf(training, 'coordinator/dist');
    await whileFrozen(app, async () => {
      await fs.rename(folder, aside);
      await fs.writeFile(folder, 'in the way');
    });
    await training.line((line) => line.event === 'note' && /continues without this checkpoint/.test(line.text as string));
    const kept = Object.keys(await hashes(aside));
    expect(kept.length).toBeGreaterThan(0);
    await whileFrozen(app, async () => {
      await fs.rm(folder);
      await fs.rename(aside, folder);
    });
    const saved = training.lines.filter(named('checkpoint')).length;
    await training.line((line) => line.event === 'checkpoint' && training.lines.indexOf(line) > saved + 1);
    training.child.kill('SIGINT');
    expect((await training.exited).code).toBe(0);
    const { checkpoint } = await training.line(named('finished'));
    await fs.access(path.join(cwd, checkpoint as string));
    expect(notes(training.lines)).toMatch(/--out/);
  });
});

describe('a full disk', () => {
  const flags = [...SMALL, '--rounds', '90', '--reproducible', '--checkpoint-every', '10', '--workers', '1', '--json'];

  it('costs checkpoints but no round; the last good one survives, and the run resumes from it to the same bits', async () => {
    const first = launch(['train', ...flags, '--out', 'full']);
    await first.line(at(30));
    first.child.kill('SIGINT');
    expect((await first.exited).code).toBe(0);
    const good = await hashes(path.join(cwd, 'full'));

    // No file may grow beyond 1 KiB.
    const second = launch(['train', ...flags, '--resume', '--out', 'full'], { limits: 'ulimit -f 1' });
    expect((await second.exited).code).toBe(1);
    expect(second.lines.filter(named('round')).at(-1)?.round).toBe(90);
    expect(notes(second.lines)).toMatch(/continues without this checkpoint.*\n/);
    expect(second.lines.find(named('error'))).toMatchObject({ code: 'not_saved' });
    expect(second.lines.some(named('checkpoint'))).toBe(false);
    expect(await hashes(path.join(cwd, 'full'))).toEqual(good);
    expect((await fs.readdir(path.join(cwd, 'full'))).filter((name) => name.includes('.tmp'))).toEqual([]);

    expect((await launch(['train', ...flags, '--resume', '--out', 'full']).exited).code).toBe(0);
    expect((await launch(['train', ...flags, '--out', 'roomy']).exited).code).toBe(0);
    const [full, roomy] = [await hashes(path.join(cwd, 'full')), await hashes(path.join(cwd, 'roomy'))];
    for (const name of [fileOf(90), 'best.safetensors']) expect([name, full[name]]).toEqual([name, roomy[name]]);
  });
});

describe('a coordinator killed while it writes checkpoints', () => {
  const RUNS = 2;
  const KILLS = 10;
  const ROUNDS = 160;
  /**
   * Little to compute and much to write, so that a checkpoint is being written nearly all the time.
   */
  const flags = (checkpointEvery: number): string[] => [
    ...['--checkpoint-every', String(checkpointEvery)],
    ...['--hidden', '384', '--batch', '2', '--window', '8', '--reproducible', '--lease-streams', '2', '--rounds', String(ROUNDS)],
    ...['--eval-every', '0', '--sample-every', '0', '--keep', '2', '--json'],
  ];
  const LAST = `round-${String(ROUNDS).padStart(8, '0')}.safetensors`;
  const halfWritten = async (out: string): Promise<string[]> =>
    (await fs.readdir(path.join(cwd, out))).filter((name) => name.includes('.tmp'));

  it(`resumes all ${RUNS * KILLS} times without losing anything announced as saved, and ends with the same bits`, async () => {
    let torn = 0;
    await byChance(350_000, async (chance, note) => {
      const runs = Array.from({ length: RUNS }, (_, i) => crashAgainAndAgain(`torn-${i}`, chance, note));
      torn = (await Promise.all(runs)).reduce((sum, left) => sum + left, 0);
    });
    // Otherwise no kill came at an instant that matters.
    expect(torn).toBeGreaterThan(0);
    expect((await launch(['train', ...flags(0), '--out', 'whole', '--workers', '1']).exited).code).toBe(0);
    const whole = await hashes(path.join(cwd, 'whole'));
    for (let i = 0; i < RUNS; i++) {
      const files = await hashes(path.join(cwd, `torn-${i}`));
      for (const name of [LAST, 'best.safetensors']) expect([name, files[name]]).toEqual([name, whole[name]]);
    }
  });

  /** @returns number of kills that left a partial file */
  async function crashAgainAndAgain(out: string, chance: Chance, note: (what: string) => void): Promise<number> {
    let [saved, torn] = [0, 0];
    for (let kill = 0; kill < KILLS; kill++) {
      const moment = roundsAfter(chance.whole(1, 6));
      const lines = await crashAt(out, saved, { moment, inTheAct: kill % 2 === 0, delayMs: chance.between(0, 8) });
      saved = lines.filter(named('checkpoint')).at(-1)!.round as number;
      note(`${out}: killed when round ${saved} was saved`);
      if ((await halfWritten(out)).length > 0) torn++;
    }
    // One more kill, after the last round is saved and before its validation is.
    const lines = await crashAt(out, saved, { every: 20, moment: () => isLast });
    if (!lines.some(named('finished'))) await finish(out);
    expect(await halfWritten(out)).toEqual([]);
    return torn;
  }

  /**
   * Rounds after the first checkpoint, so that even a fast machine has rounds left for the next
   * kill.
   */
  const roundsAfter = (rounds: number) => (first: number) => at(first + rounds);
  const isLast = (line: Line): boolean => line.event === 'checkpoint' && line.round === ROUNDS;

  async function finish(out: string): Promise<void> {
    const last = launch(['train', ...flags(0), '--resume', '--out', out, '--workers', '1']);
    expect((await last.exited).code).toBe(0);
    expectResumed(last.lines, ROUNDS);
  }

  /** @returns the coordinator's events until it was killed, a given time after an event */
  async function crashAt(
    out: string,
    saved: number,
    { every = 1, moment, inTheAct = false, delayMs = 0 }: Crash,
  ): Promise<readonly Line[]> {
    const resume = saved > 0 ? ['--resume'] : [];
    const coordinator = launch(['coordinator', ...flags(every), ...resume, '--out', out, '--port', '0']);
    const { address } = await coordinator.line(named('listening'));
    const worker = launch(['worker', address as string]);
    const app = await appOf(coordinator);
    const { round } = await coordinator.line(named('checkpoint'));
    await coordinator.line(moment(round as number));
    while (inTheAct && (await halfWritten(out)).length === 0) await sleep(1);
    if (delayMs > 0) await sleep(delayMs);
    signal(app, 'SIGKILL');
    const { code } = await coordinator.exited;
    if (!coordinator.lines.some(named('finished'))) expect(code).toBe(137);
    await end(worker);
    expectResumed(coordinator.lines, saved);
    return coordinator.lines;
  }

  function expectResumed(lines: readonly Line[], saved: number): void {
    expect(lines.find(named('started'))!.round).toBeGreaterThanOrEqual(saved);
    expect(notes(lines)).not.toMatch(/damaged/);
  }
});
