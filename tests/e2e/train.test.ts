import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appOf, at, childrenOf, named, run, scratch, signal, SMALL, start, type Line } from './troupe.js';

let cwd = '';
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  await fs.rm(cwd, { recursive: true, force: true });
});

/** Enough for a test to disturb a run before it is complete. */
const ROUNDS = 300;

/** Without the measurement of engines, which takes half a second a worker; the reference and one other run have it. */
const FIXED = [...SMALL, '--engine', 'wasm'];

const fileOf = (round: number): string => `round-${String(round).padStart(8, '0')}.safetensors`;

const losses = (lines: readonly Line[]): number[] => lines.filter(named('round')).map((line) => line.trainLoss as number);

/** Trains undisturbed: the reference for disturbed runs. */
let undisturbed: number[] = [];
beforeAll(async () => {
  const training = start(['train', ...SMALL, '--rounds', String(ROUNDS), '--workers', '2', '--out', 'undisturbed', '--json'], {
    cwd,
  });
  const { code, stderr } = await training.exited;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  undisturbed = losses(training.lines);
});

describe('troupe train', () => {
  it('learns, saves checkpoints and says where they are', async () => {
    expect(undisturbed).toHaveLength(ROUNDS);
    expect(undisturbed.at(-1)).toBeLessThan(undisturbed[0] - 0.8);
    expect(await fs.readdir(path.join(cwd, 'undisturbed'))).toEqual(
      expect.arrayContaining(['best.safetensors', 'round-00000300.safetensors']),
    );
  });

  it('prints text without --json: progress, a sample, and what to type next', async () => {
    const { code, stdout } = await run(['train', ...SMALL, '--rounds', '30', '--workers', '1', '--out', 'people'], { cwd });
    expect(code).toBe(0);
    expect(stdout).toMatch(/30\/30/);
    expect(stdout).toMatch(/sample (at round 30|of the best model, from round 20)/);
    expect(stdout).toMatch(/sample --checkpoint .*people/);
    expect(stdout).toMatch(/--resume/);
  });

  it.each([1, 3])('gives the same losses with %i workers', async (workers) => {
    const training = start(
      ['train', ...FIXED, '--rounds', String(ROUNDS), '--workers', String(workers), '--out', `workers-${workers}`, '--json'],
      { cwd },
    );
    expect((await training.exited).code).toBe(0);
    losses(training.lines).forEach((loss, round) => expect(Math.abs(loss - undisturbed[round])).toBeLessThan(1e-3));
  });

  it('loses nothing when a worker is killed in the middle of the run', async () => {
    const training = start(['train', ...FIXED, '--rounds', String(ROUNDS), '--workers', '2', '--out', 'killed', '--json'], {
      cwd,
    });
    const worker = await appOf(training, 'local-1');
    await training.line(at(10));
    expect(signal(worker, 'SIGKILL')).toBe(true);
    expect((await training.exited).code).toBe(0);
    losses(training.lines).forEach((loss, round) => expect(Math.abs(loss - undisturbed[round])).toBeLessThan(1e-3));
  });

  it('saves and stops on Ctrl-C, and --resume continues as if it had never stopped', async () => {
    const first = start(['train', ...FIXED, '--rounds', String(ROUNDS), '--workers', '2', '--out', 'stopped', '--json'], { cwd });
    await first.line(at(20));
    first.child.kill('SIGINT');
    expect((await first.exited).code).toBe(0);
    const { round } = await first.line(named('finished'));
    expect(round).toBeGreaterThanOrEqual(20);
    expect(round).toBeLessThan(ROUNDS);

    const second = start(['train', '--resume', '--engine', 'wasm', '--workers', '2', '--out', 'stopped', '--json'], { cwd });
    expect((await second.exited).code).toBe(0);
    expect((await second.line(named('started'))).round).toBe(round);
    const all = [...losses(first.lines).slice(0, round as number), ...losses(second.lines)];
    expect(all).toHaveLength(ROUNDS);
    all.forEach((loss, i) => expect(Math.abs(loss - undisturbed[i])).toBeLessThan(1e-3));
  });

  it('changes from exact to local rounds and back when it is resumed, with the same bits for one and two workers', async () => {
    const legs = [
      ['--rounds', '20', '--reproducible'],
      ['--rounds', '26', '--resume', '--local-steps', '4', '--tracks', '2'],
      ['--rounds', '40', '--resume', '--local-steps', '1'],
    ];
    const hashes: string[][] = [];
    for (const workers of ['1', '2']) {
      const out = `legs-${workers}`;
      for (const leg of legs) {
        const flags = leg.includes('--resume') ? leg : [...SMALL, ...leg];
        const { code, stdout } = await run(['train', ...flags, '--workers', workers, '--out', out], { cwd });
        expect(code).toBe(0);
        if (leg.includes('--resume')) expect(stdout.replace(/\s+/g, ' ')).toMatch(/From round 2\d on, rounds are (local|exact)/);
      }
      const files = await Promise.all([20, 26, 40].map((round) => fs.readFile(path.join(cwd, out, fileOf(round)))));
      hashes.push(files.map((bytes) => createHash('sha256').update(bytes).digest('hex')));
    }
    expect(hashes[1]).toEqual(hashes[0]);
  });

  it('resumes from the previous checkpoint when the newest is damaged, and says so', async () => {
    const args = ['train', ...FIXED, '--workers', '1', '--out', 'damaged', '--checkpoint-every', '10', '--json'];
    expect((await run([...args, '--rounds', '30'], { cwd })).code).toBe(0);
    const newest = path.join(cwd, 'damaged', 'round-00000030.safetensors');
    await fs.truncate(newest, 5000);
    const again = start(
      ['train', '--resume', '--engine', 'wasm', '--rounds', '40', '--workers', '1', '--out', 'damaged', '--json'],
      { cwd },
    );
    expect((await again.exited).code).toBe(0);
    expect((await again.line(named('started'))).round).toBe(20);
    expect((await again.line(named('note'))).text).toContain('damaged');
    expect(await fs.readdir(path.join(cwd, 'damaged'))).toContain('round-00000030.safetensors.damaged');
  });

  it('leaves no process behind when it is killed', async () => {
    const training = start(['train', ...FIXED, '--rounds', '100000', '--workers', '2', '--out', 'orphans', '--json'], { cwd });
    await training.line(at(3));
    const children = await childrenOf(training.child.pid!);
    expect(children.length).toBeGreaterThanOrEqual(3);
    training.child.kill('SIGKILL');
    const alive = (): number => children.filter(({ pid }) => isAlive(pid)).length;
    await expect.poll(alive, { timeout: 20_000 }).toBe(0);
  });

  it('refuses to start in a folder that has a run, and loses nothing', async () => {
    const { code, stdout, stderr } = await run(['train', ...SMALL, '--out', 'undisturbed', '--workers', '1'], { cwd });
    expect(code).not.toBe(0);
    expect(stdout + stderr).toMatch(/--resume/);
    expect(await fs.readdir(path.join(cwd, 'undisturbed'))).toContain('round-00000300.safetensors');
  });
});

describe('troupe eval and sample', () => {
  it('measure a checkpoint and write text with it', async () => {
    const evaluated = await run(['eval', '--checkpoint', 'undisturbed', '--corpus', 'sonnets', '--json'], { cwd });
    expect(evaluated.code).toBe(0);
    const { lossPerChar, tokens } = JSON.parse(evaluated.stdout) as { lossPerChar: number; tokens: number };
    expect(tokens).toBe(9447);
    expect(lossPerChar).toBeGreaterThan(2);
    expect(lossPerChar).toBeLessThan(3.5);
    const sampled = await run(['sample', '--checkpoint', 'undisturbed', '--length', '50', '--prime', 'Shall I ', '--seed', '3'], {
      cwd,
    });
    expect(sampled.code).toBe(0);
    expect(sampled.stdout.length).toBeGreaterThanOrEqual(50);
  });

  it('list the characters of the model when the prime has another', async () => {
    const { code, stderr } = await run(['sample', '--checkpoint', 'undisturbed', '--prime', 'Straße'], { cwd });
    expect(code).toBe(1);
    expect(stderr).toContain('ß');
  });

  it.each([
    ['missing', 'nowhere', /no nowhere/],
    ['foreign', 'foreign.safetensors', /./],
  ])('explain a %s checkpoint', async (_, file, message) => {
    if (file.endsWith('.safetensors')) await fs.writeFile(path.join(cwd, file), 'not a checkpoint at all');
    const { code, stderr } = await run(['eval', '--checkpoint', file], { cwd });
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
  });
});

describe('bad input', () => {
  it.each([
    ['an unknown flag', ['--hiden', '64'], 2, /--hidden/],
    ['a layer count that is no number', ['--layers', 'two'], 2, /--layers two is not a whole number/],
    ['a corpus that is not there', ['--corpus', 'no-such.txt'], 1, /no-such\.txt/],
    ['a corpus shorter than one window', ['--corpus', 'short.txt'], 1, /--batch|--window/],
    ['a corpus that is not UTF-8', ['--corpus', 'latin1.txt'], 1, /UTF-8/],
    ['an empty corpus', ['--corpus', 'empty.txt'], 1, /empty/],
    ['nothing to resume', ['--resume', '--out', 'nothing-here'], 2, /nothing-here/],
    ['a model that no worker could receive', ['--hidden', '8192'], 2, /a smaller --hidden/],
    ['divergence', ['--optimizer', 'sgd', '--lr', '1000', '--schedule', 'constant', '--clip', '0', ...SMALL], 3, /diverged/],
  ])('%s ends with a remedy', async (_, args, code, message) => {
    await fs.writeFile(path.join(cwd, 'short.txt'), 'To be, or not to be, that is the question.');
    await fs.writeFile(
      path.join(cwd, 'latin1.txt'),
      Buffer.from([...Buffer.from('caf'), 0xe9, ...Buffer.from(' noir\n'.repeat(500))]),
    );
    await fs.writeFile(path.join(cwd, 'empty.txt'), '');
    const exit = await run(['train', '--workers', '1', ...args], { cwd });
    expect(exit.stdout + exit.stderr).toMatch(message);
    expect(exit.stderr).not.toMatch(/\n\s+at /);
    expect(exit.code).toBe(code);
  });

  it('a port in use ends with a remedy', async () => {
    const squatter = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => squatter.once('listening', resolve));
    const { port } = squatter.address() as net.AddressInfo;
    const exit = await run(['coordinator', ...SMALL, '--port', String(port), '--out', 'port'], { cwd });
    squatter.close();
    expect(exit.code).toBe(1);
    expect(exit.stderr).toMatch(/--port/);
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
