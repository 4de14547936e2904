import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { compiled } from '../../src/launch/release-bytes.js';
import { Tail } from '../../src/launch/slurm-outputs.js';
import {
  explainEnd,
  explainRefusal,
  explainWait,
  findJob,
  isPlainPath,
  jobNameOf,
  parseQueue,
  phaseOf,
  readSlurmArgs,
  sbatchScript,
  splitWords,
  type JobPlan,
} from '../../src/launch/slurm.js';
import { decode, type FromHost } from '../../src/launch/wire.js';

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));
function scratch(): string {
  folders.push(mkdtempSync(path.join(os.tmpdir(), 'troupe-slurm-')));
  return folders.at(-1)!;
}

const PLAN: JobPlan = {
  name: jobNameOf('ws://lab:7070/control'),
  tasks: 4,
  threads: 16,
  folder: '/home/me/.cache/troupe/slurm/x',
  entry: '/home/me/release/task.js',
  nodes: ['/opt/my node/bin/node'],
};

describe('the script of a job', () => {
  it('asks for an array with the cores of each task, and names the same job for the same coordinator', () => {
    const script = sbatchScript(PLAN);
    expect(script).toContain('#SBATCH --array=1-4\n');
    expect(script).toContain('#SBATCH --cpus-per-task=16\n');
    expect(script).toContain(`#SBATCH --job-name=${jobNameOf('ws://lab:7070/control')}\n`);
    expect(jobNameOf('ws://lab:7071/control')).not.toBe(PLAN.name);
    expect(sbatchScript({ ...PLAN, threads: undefined })).not.toContain('cpus-per-task');
  });

  it('is one that sh runs: it finds Node and leads it to the task', () => {
    const folder = scratch();
    const entry = path.join(folder, 'task.mjs');
    writeFileSync(entry, 'console.log("in", process.env.TROUPE_SLURM_FOLDER);\n');
    const script = sbatchScript({ ...PLAN, entry, folder, nodes: [path.join(folder, 'missing'), process.execPath] });
    const PATH = path.join(folder, 'bare');
    mkdirSync(PATH);
    symlinkSync('/bin/sh', path.join(PATH, 'sh'));
    expect(execFileSync('/bin/sh', ['-s'], { input: script, env: { PATH }, encoding: 'utf8' })).toBe(`in ${folder}\n`);
  });
});

describe('--slurm-args', () => {
  it('is divided as a shell divides it', () => {
    const words = splitWords(`-p lab  --comment="two words" --mail-user='a b'c --time=1:00:00`);
    expect(words).toEqual(['-p', 'lab', '--comment=two words', '--mail-user=a bc', '--time=1:00:00']);
    expect(splitWords('')).toEqual([]);
  });

  it.each([
    ['--comment="open', 'Close it'],
    ['--array=1-9', 'with --tasks N'],
    ['-a 1-9', 'with --tasks N'],
    ['-a1-9', 'with --tasks N'],
    ['--output=x', 'Leave it out'],
    ['-p lab -o x', 'Leave it out'],
    ['--wrap "id"', 'Leave it out'],
    ['--export=TROUPE_TOKEN=secret', 'a file that only you can read'],
  ])('%s is refused', (text, remedy) => {
    const problem = readSlurmArgs(text);
    expect(problem).toMatchObject({ remedy: expect.stringContaining(remedy) });
    expect(JSON.stringify(problem)).not.toContain('secret');
  });

  it('may have other options that begin alike', () => {
    expect(readSlurmArgs('--nodelist=n1 --open-modes --account=a -A a')).toHaveLength(5);
  });

  it.each([
    ['/home/me/.cache/troupe', true],
    ['/home/me/my cache', false],
    ['/home/100%/x', false],
    ['/home/a\\b', false],
  ])('a folder %s is one that Slurm takes as it stands: %s', (folder, isPlain) => {
    expect(isPlainPath(folder)).toBe(isPlain);
  });
});

describe('the queue', () => {
  const QUEUE =
    '14|1|RUNNING|None|n1\n14|2|PENDING|Resources|\n9|1|COMPLETING|None|n2\n13|N/A|RUNNING|None|n1\nslurm_load: hm\n\n';

  it('is read line by line, without jobs that are no arrays', () => {
    expect(parseQueue(QUEUE)).toEqual([
      { jobId: '14', index: 1, state: 'RUNNING', reason: 'None', node: 'n1' },
      { jobId: '14', index: 2, state: 'PENDING', reason: 'Resources', node: '' },
      { jobId: '9', index: 1, state: 'COMPLETING', reason: 'None', node: 'n2' },
    ]);
  });

  it('tells which job of an earlier launch still has tasks', () => {
    expect(findJob(parseQueue(QUEUE))).toBe('14');
    expect(findJob(parseQueue('9|1|RUNNING|None|n2\n10|1|RUNNING|None|n2'))).toBe('10');
    expect(findJob(parseQueue('9|1|COMPLETING|None|n2'))).toBeUndefined();
    expect(findJob([])).toBeUndefined();
  });

  it.each([
    ['PENDING', 'waits'],
    ['CONFIGURING', 'runs'],
    ['COMPLETING', 'leaving'],
    ['NODE_FAIL', 'ended'],
    ['FAILED', 'ended'],
    ['CANCELLED', 'over'],
    ['A_STATE_OF_A_LATER_SLURM', 'ended'],
  ])('a task that is %s %s', (state, phase) => {
    expect(phaseOf(state)).toBe(phase);
  });
});

describe('what Slurm says, in words', () => {
  it.each([
    [
      'sbatch: error: invalid partition specified: nowhere\nsbatch: error: Batch job submission failed: Invalid partition name specified',
      'sinfo -s',
    ],
    ['sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified', '--account=NAME'],
    ['sbatch: error: Batch job submission failed: Invalid qos specification', '--qos=NAME'],
    ['sbatch: error: Batch job submission failed: Invalid job array specification', 'fewer --tasks'],
    [
      'sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)',
      'shorter time',
    ],
    ['sbatch: error: Batch job submission failed: Requested node configuration is not available', 'sinfo -N -l'],
    ['sbatch: error: Invalid generic resource (gres) specification', 'sinfo -N -l'],
    ['sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)', 'limit of the cluster'],
    ['sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)', 'Type sinfo'],
    [`sbatch: unrecognized option '--foo'\nTry "sbatch --help" for more information`, 'Correct --slurm-args'],
    ['', 'Correct --slurm-args'],
  ])('a refusal: %s', (errors, remedy) => {
    const refusal = explainRefusal(errors);
    expect(refusal.remedy).toContain(remedy);
    expect(refusal.text).not.toMatch(/sbatch: error|Try "sbatch/);
    if (errors !== '') expect(refusal.text).toContain(errors.split('\n')[0].replace(/^sbatch: (error: )?/, ''));
  });

  it('names what helps a task that waits only if something does', () => {
    expect(explainWait('None', '7')).toEqual({ text: 'in the queue' });
    expect(explainWait('Priority', '7')).toEqual({ text: 'in the queue: Priority' });
    expect(explainWait('JobHeldUser', '7').remedy).toContain('scontrol release 7');
    expect(explainWait('PartitionTimeLimit', '7').remedy).toContain('--time=');
  });

  it('suspects a folder that the nodes do not see if a task never wrote anything', () => {
    expect(explainEnd('FAILED', false, '/tmp/x').remedy).toContain('--slurm-dir DIR');
    expect(explainEnd('FAILED', true, '/tmp/x').remedy).not.toContain('--slurm-dir');
    expect(explainEnd('TIMEOUT', true, '/tmp/x').remedy).toContain('--time=');
    expect(explainEnd('NEW_STATE', true, '/tmp/x').text).toContain('NEW_STATE');
  });
});

describe('an output file that grows', () => {
  it('is read from its start, by whole lines, also when it comes late', () => {
    const file = path.join(scratch(), '1.out');
    const tail = new Tail(file, false);
    expect(tail.read()).toEqual([]);
    writeFileSync(file, 'one\ntw');
    expect(tail.read()).toEqual(['one']);
    appendFileSync(file, 'o\nthree\n');
    expect(tail.read()).toEqual(['two', 'three']);
    expect(tail.read()).toEqual([]);
  });

  it('is read from its last whole lines by a later launch', () => {
    const file = path.join(scratch(), '1.out');
    writeFileSync(file, `${'x'.repeat(70_000)}\nlast\n`);
    const tail = new Tail(file, true);
    expect(tail.read()).toEqual(['last']);
    appendFileSync(file, 'new\n');
    expect(tail.read()).toEqual(['new']);
    writeFileSync(file, 'short\n');
    expect(new Tail(file, true).read()).toEqual(['short']);
  });
});

describe('a task', () => {
  it('gives its node back if no coordinator answers, and says so', async () => {
    const folder = scratch();
    mkdirSync(path.join(folder, 'release'));
    const slot = { name: 'slurm/2', engine: 'wasm', threads: 1, sharedBy: 1, gpu: false, env: {} };
    const order = { token: 't', address: 'ws://127.0.0.1:9/control', launch: 'l', by: 'this test' };
    const slots = [{ ...slot, name: 'slurm/1' }, slot];
    writeFileSync(
      path.join(folder, 'order.json'),
      JSON.stringify({ order, slots, patienceMs: 1_500, release: path.join(folder, 'release') }),
    );
    const env = { PATH: process.env.PATH, TROUPE_SLURM_FOLDER: folder, SLURM_ARRAY_TASK_ID: '2', SLURM_CPUS_ON_NODE: '3' };
    const task = spawn(process.execPath, [compiled('slurm-task')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    task.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const code = await new Promise((resolve) => task.on('close', resolve));
    const said = text
      .split('\n')
      .flatMap((line): readonly FromHost[] => [decode(line)].filter((message) => message !== undefined));
    expect(code).toBe(1);
    expect(said.find(({ at }) => at === 'starting')).toMatchObject({ slot: 'slurm/2', threads: 1 });
    const ended = { at: 'ended', next: 'failed', why: expect.stringContaining('the node was given back') };
    expect(said.find(({ at }) => at === 'ended')).toMatchObject(ended);
  });
});
