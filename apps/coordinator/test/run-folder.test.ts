/** A run's folder belongs to one coordinator, and a resumed run is the run that it was. */
import { readFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { latestCheckpoint } from '@troupe/checkpoint/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { scratch, startCoordinator, type RunningCoordinator } from './running.js';

let cwd: string;
let out: string;
let runs: RunningCoordinator[];
beforeEach(async () => {
  cwd = await scratch();
  out = path.join(cwd, 'run');
  runs = [];
});
afterEach(async () => {
  for (const run of runs) await run.stop().catch(() => undefined);
  await fs.rm(cwd, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<RunningCoordinator> {
  const run = await startCoordinator(`--out=${out}`, '--sample-every=0', ...flags);
  runs.push(run);
  return run;
}

async function train(rounds: number, ...flags: string[]): Promise<void> {
  const run = await start(`--rounds=${rounds}`, ...flags);
  run.join('a');
  await run.ended;
}

/** Every file of the run, with its bytes. */
async function contents(): Promise<Record<string, string>> {
  const names = (await fs.readdir(out, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map(({ parentPath, name }) => [name, readFileSync(path.join(parentPath, name)).toString('base64')]),
  );
}

const texts = ({ events }: RunningCoordinator): string[] =>
  events.flatMap((event) => (event.event === 'note' ? [event.text] : []));

describe('a folder in use', () => {
  it('is refused to a second coordinator and to a resume, and nothing in it changes', async () => {
    const run = await start('--rounds=100000000', '--checkpoint-every=5', '--tensorboard');
    const worker = run.join('a');
    await run.event('checkpoint');
    await run.steer({ action: 'pause' });
    worker.leave();
    await run.steer({ action: 'checkpoint' });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const before = await contents();
    await expect(start('--resume')).rejects.toMatchObject({ code: 'in_use', remedy: expect.stringMatching(/--out/) });
    await expect(start()).rejects.toMatchObject({ code: 'in_use' });
    const after = await contents();
    delete before['run.lock'];
    delete after['run.lock'];
    expect(Object.keys(after).sort()).toEqual(Object.keys(before).sort());
    for (const name of Object.keys(before)) if (name !== 'history.jsonl') expect(after[name], name).toBe(before[name]);
    expect(Buffer.from(after['history.jsonl'], 'base64').toString()).toContain(
      Buffer.from(before['history.jsonl'], 'base64').toString(),
    );
  });

  it('is free again when the run has ended', async () => {
    await train(4);
    expect(await fs.readdir(out)).not.toContain('run.lock');
    await train(8, '--resume');
    expect((await latestCheckpoint(out))?.checkpoint.round).toBe(8);
  });
});

describe('a resume that cannot start', () => {
  it('leaves checkpoints and history as they were when its port is taken', async () => {
    await train(12, '--checkpoint-every=5', '--keep=5', '--eval-every=4');
    await fs.rm(path.join(out, 'round-00000012.safetensors'));
    const before = await contents();
    const other = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as { port: number };
    await expect(start('--resume', `--port=${port}`)).rejects.toMatchObject({ code: 'port_in_use' });
    other.close();
    expect(await contents()).toEqual(before);
  });

  it('says at which round the run is when it is beyond --rounds', async () => {
    await train(6);
    await expect(start('--resume', '--rounds=5')).rejects.toMatchObject({
      message: expect.stringMatching(/is at round 6, beyond --rounds 5/),
    });
    await expect(start('--resume')).rejects.toMatchObject({ message: expect.stringMatching(/has finished its 6 rounds/) });
    expect(await fs.readdir(out)).not.toContain('run.lock');
  });
});

describe('a resumed run', () => {
  it('keeps the flags of the run, so nothing is pruned that was to be kept, and says so', async () => {
    await train(12, '--checkpoint-every=0', '--keep=10', '--tensorboard', '--organizer=Ann', '--public');
    const checkpoints = async () => (await fs.readdir(out)).filter((name) => name.startsWith('round-'));
    const last = path.join(out, 'round-00000012.safetensors');
    for (let round = 1; round <= 6; round++) await fs.copyFile(last, path.join(out, `round-0000000${round}.safetensors`));
    const before = await checkpoints();
    const run = await start('--resume', '--rounds=16');
    run.join('a');
    expect((await run.ask('/api/run')).json).toMatchObject({ organizer: 'Ann' });
    await run.ended;
    expect((await checkpoints()).sort()).toEqual([...before, 'round-00000016.safetensors'].sort());
    expect(await fs.readdir(path.join(out, 'tensorboard'))).toHaveLength(2);
    expect(texts(run)).toContainEqual(expect.stringMatching(/^The run keeps its flags: .*--keep 10 .*--tensorboard/));
  });

  it('takes given flags from now on, and says what changed', async () => {
    await train(4, '--keep=10', '--public');
    const run = await start('--resume', '--rounds=6', '--keep=4', '--no-public');
    run.join('a');
    await run.ended;
    expect(texts(run)).toContainEqual(expect.stringMatching(/^Changed: --keep 4 \(was 10\); .*--public is off now/));
    expect(JSON.parse(await fs.readFile(path.join(out, 'run.json'), 'utf8'))).toMatchObject({ flags: { '--keep': '4' } });
  });

  it('finds its text from another folder', async () => {
    const text = path.join(cwd, 'text.txt');
    await fs.writeFile(text, 'To be, or not to be, that is the question. '.repeat(400));
    await train(4, `--corpus=${path.relative(process.cwd(), text)}`);
    const { flags } = JSON.parse(await fs.readFile(path.join(out, 'run.json'), 'utf8')) as { flags: Record<string, string> };
    expect(flags['--corpus']).toBe(text);
    await train(6, '--resume');
    expect((await latestCheckpoint(out))?.checkpoint.round).toBe(6);
  });
});
