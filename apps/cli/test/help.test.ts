import { describe, expect, it } from 'vitest';
import { ALLREDUCE_OPTIONS, RUN_OPTIONS, type AppOption } from '@troupe/config';
import { WORKER_OPTIONS } from '@troupe/engines/options';
import { LAUNCH_OPTIONS } from '../src/launch/options.js';
import { troupe } from './fixtures/shell.js';

const COMMANDS = [
  'train',
  'coordinator',
  'worker',
  'launch',
  'allreduce',
  'token',
  'sample',
  'eval',
  'export',
  'corpus',
  'bench',
  'doctor',
];

async function outputOf(...argv: string[]) {
  const session = troupe(argv);
  return { code: await session.exitCode, stdout: session.stdout.text, stderr: session.stderr.text };
}

describe('troupe --help', () => {
  it('lists every command', async () => {
    const { code, stdout } = await outputOf('--help');
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  });

  it('is printed without arguments too', async () => {
    expect(await outputOf()).toEqual(await outputOf('--help'));
  });

  const SUBCOMMANDS = [
    ...['list', 'fetch', 'info'].map((name) => ['corpus', name]),
    ...['create', 'list', 'revoke', 'rotate'].map((name) => ['token', name]),
  ];
  it.each([...COMMANDS.map((name) => [name]), ...SUBCOMMANDS])('of %s %s has examples and next steps', async (...command) => {
    const { code, stdout } = await outputOf(...command.filter(Boolean), '--help');
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: troupe ${command.filter(Boolean).join(' ')}`);
    expect(stdout).toMatch(/Examples:\n {2}\S/);
    expect(stdout).toMatch(/What next:\n {2}\S/);
  });

  it.each(['train', 'coordinator'])('of %s explains every flag of a run', async (command) => {
    const { stdout } = await outputOf(command, '--help');
    for (const { flag, default: usual } of RUN_OPTIONS) {
      expect(stdout).toContain(`  ${flag}`);
      if (usual !== undefined && flag !== '--port') expect(stdout.replace(/\s+/g, ' ')).toContain(`default: ${usual})`);
    }
  });
});

describe('the help of an app', () => {
  it.each([
    ['worker', WORKER_OPTIONS],
    ['launch', LAUNCH_OPTIONS],
    ['allreduce', ALLREDUCE_OPTIONS],
  ] as const)('of %s explains every flag of its table', async (command, options: readonly AppOption[]) => {
    const { stdout } = await outputOf(command, '--help');
    for (const { flag, help, default: usual } of options) {
      expect(stdout).toContain(`  ${flag}`);
      expect(stdout.replace(/\s+/g, ' ')).toContain(`${help}${usual === undefined ? '' : ` (default: ${usual})`}`);
    }
  });
});

describe('wrong usage', () => {
  it('exits with 2 and suggests a flag for an unknown one', async () => {
    const { code, stderr } = await outputOf('train', '--layer', '2');
    expect(code).toBe(2);
    expect(stderr).toContain("unknown option '--layer'");
    expect(stderr).toContain('Did you mean --layers?');
  });

  it('exits with 2 and suggests a command for an unknown one', async () => {
    const { code, stderr } = await outputOf('trian');
    expect(code).toBe(2);
    expect(stderr).toContain('Did you mean train?');
  });

  it.each([
    [['train', '--workers', '0'], 'whole number from 1 to 64'],
    [['train', '--workers', '65'], 'whole number from 1 to 64'],
    [['train', '--workers', '2.5'], 'whole number from 1 to 64'],
    [['sample', '--temperature', 'hot'], 'number from 0 to 100'],
    [['sample', '--length', '-5'], 'whole number from 1'],
    [['bench', '--config', '2x256'], 'It should look like 2x256,32,64'],
    [['bench', '--engine', 'cuda'], 'one of auto, tfjs, native, wasm, webgpu'],
    [['train', '--engine', 'cuda'], 'one of auto'],
    [['train', '--threads', '0'], 'whole number from 1 to 256'],
    [['train', '--engine', 'webgpu', '--threads', '2'], '--threads 2 is for engines that compute on the processor'],
    [['bench', '--engine', 'tfjs-wasm', '--threads', '2'], '--threads 2 is for'],
    [['worker', 'ws://localhost:7070', '--token', 't', '--engine', 'tfjs', '--threads', '8'], '--engine tfjs takes one thread'],
    [['sample', '--engine', 'toString'], 'one of auto'],
    [['doctor', '--engine', 'auto'], 'one of native'],
    [['worker', 'ws://localhost:7070', '--token', 't', '--engine', 'gpu'], 'one of auto'],
    [['worker', 'ws://localhost:7070', '--token', 't', '--threads', '257'], 'whole number from 1 to 256'],
    [['allreduce', '--token', 't', '--port', '99999'], 'whole number from 0 to 65535'],
    [['train', '--wire', 'fp32'], 'The flag is called --codec now: give --codec fp32.'],
    [['coordinator', '--wire=fp32'], 'The flag is called --codec now: give --codec fp32.'],
    [['worker', 'ws://localhost:7070'], 'A worker needs the token of the run.'],
    [['launch', 'ws://lab:7070'], 'There are no hosts to launch workers on.'],
    [['launch', '--local', '1'], 'A launch needs the address of a coordinator.'],
    [['launch', 'ws://lab:7070', '--local', '1'], 'Workers need the token of the run.'],
    [['launch', 'https://lab:7070/join/#token=t', '--local', '1'], 'This link contains the token'],
    [['launch', 'ws://lab:7070', '--local', '65'], 'whole number from 1 to 64'],
    [['launch', 'ws://lab:7070', '--hosts', '/missing.txt'], 'The hosts file /missing.txt cannot be read'],
    [['launch', 'ws://lab:7070', '--local', '1', '--engine', 'webgpu', '--threads', '2'], '--engine webgpu takes one thread'],
    [['corpus', 'fetch', 'hamlet'], 'There is no corpus named hamlet.'],
    [['token', 'create'], "required option '--scope <SCOPE>' not specified"],
    [['token', 'create', '--scope', 'root'], 'Allowed choices are worker, volunteer, viewer, admin'],
    [['token', 'create', '--scope', 'worker', '--expires', 'never'], 'It should be a period such as 90m, 12h, 7d or 4w'],
    [['token', 'create', '--scope', 'worker', '--max-links', '0'], 'whole number from 1 to'],
    [['token', 'create', '--scope', 'worker', '--label', 'two\nlines'], 'at most 64 characters, on one line'],
    [['token', 'revoke'], "missing required argument 'id'"],
    [['train', 'extra'], 'too many arguments'],
  ])('exits with 2 for %j and says what is wrong', async (argv, message) => {
    const { code, stderr } = await outputOf(...argv);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });
});
