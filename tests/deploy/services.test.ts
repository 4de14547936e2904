/** Units of systemd, the script for Slurm, and what all files under deploy/ say of flags, variables and ports. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { ALLREDUCE_OPTIONS, isOptionValue, RUN_OPTIONS, type AppOption } from '@troupe/config';
import { WORKER_OPTIONS } from '@troupe/engines/options';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { end, named, root, SMALL, start } from '../e2e/troupe.js';
import { call, deploy, files, has, read, readYaml } from './files.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'troupe-deploy-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const UNITS = files().filter((file) => file.endsWith('.service'));
const SCRIPTS = [
  '.ci/run',
  ...files()
    .filter((file) => /\.(sh|sbatch)$/.test(file))
    .map((file) => `deploy/${file}`),
];

it.skipIf(!has('systemd-analyze', '--version'))('systemd finds nothing wrong with the units (apt install systemd)', () => {
  expect(UNITS).toHaveLength(2);
  const { status, output } = call('systemd-analyze', ['verify', ...UNITS.map((unit) => path.join(deploy, unit))]);
  // It also looks for the program, which is not installed in /opt/troupe here.
  expect({ status, output }).toEqual({ status: 0, output: '' });
});

/** The sum of what a process may do, 0 to 100: units without these settings have 92. A GPU needs devices, which cost the worker 4 points. */
const EXPOSURE = 35;

it.skipIf(!has('systemd-analyze', '--version'))('systemd finds that the units may do little beyond their work', () => {
  for (const unit of UNITS) {
    const args = ['security', '--no-pager', '--offline=true', `--threshold=${EXPOSURE}`, path.join(deploy, unit)];
    const { status, output } = call('systemd-analyze', args);
    expect({ unit, status, verdict: /Overall exposure level.*/.exec(output)?.[0] }).toMatchObject({ status: 0 });
  }
});

it('bounds the memory, the files and the restarts of a service', () => {
  for (const unit of UNITS) {
    const settings = new Map(
      read(unit)
        .split('\n')
        .flatMap((line) => {
          const [, name, value] = /^([A-Z]\w+)=(.*)$/.exec(line) ?? [];
          return name === undefined ? [] : [[name, value] as const];
        }),
    );
    for (const [name, value] of [
      ['MemoryMax', /^\d+%$/],
      ['LimitNOFILE', /^\d+$/],
      ['StartLimitIntervalSec', /^\d+$/],
      ['StartLimitBurst', /^\d+$/],
    ] as const)
      expect(settings.get(name), `${name} of ${unit}`).toMatch(value);
    // A service that fails at once must reach the limit, or it would start for ever.
    const fastest = Number(settings.get('StartLimitIntervalSec')) / Number(settings.get('RestartSec'));
    expect(fastest).toBeGreaterThan(2 * Number(settings.get('StartLimitBurst')));
  }
});

it.skipIf(!has('shellcheck'))('shellcheck finds nothing wrong with the scripts (apt install shellcheck)', () => {
  expect(SCRIPTS).toContain('deploy/docker/entrypoint.sh');
  expect(call('shellcheck', SCRIPTS, { cwd: root })).toEqual({ status: 0, output: '' });
});

/** Words after `troupe COMMAND` in the files, and flags in variables that the command gets. */
const FLAGS: readonly { readonly file: string; readonly words: string; readonly options: readonly AppOption[] }[] = [
  ...files().flatMap((file) => {
    const text = read(file);
    const lines = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, words]) => words.replaceAll(/[[\],'"]/g, ' '));
    return [
      ...lines(/(?:\[coordinator,|coordinator\/dist\/main\.js|(?:troupe|--) coordinator|TROUPE_FLAGS=)((?:\\\n|[^\n])*)/g).map(
        (words) => ({
          file,
          words,
          options: RUN_OPTIONS,
        }),
      ),
      ...lines(/(?:\[worker,|worker\/dist\/main\.js|(?:troupe|--) worker|TROUPE_WORKER_FLAGS=)((?:\\\n|[^\n])*)/g).map(
        (words) => ({
          file,
          words,
          options: WORKER_OPTIONS,
        }),
      ),
    ];
  }),
];

/** What is wrong with the flags in a text: names that the command does not have, and values that they do not take. */
function wrongFlags(words: string, options: readonly AppOption[]): string[] {
  const known = new Map(
    options.flatMap((option) => [[option.flag, option] as const, [option.flag.replace('--', '--no-'), option] as const]),
  );
  return [...words.matchAll(/(?<!\S)(--[a-z-]+)(?: ([^\s-]\S*))?/g)].flatMap(([text, flag, value]) => {
    const option = known.get(flag);
    if (option === undefined) return [text];
    const isLiteral = value !== undefined && option.type !== 'switch' && !/[$"]|^[A-Z]+$/.test(value);
    return isLiteral && !isOptionValue(option, value) ? [text] : [];
  });
}

it('uses flags that the commands have, with values that they take', () => {
  expect(new Set(FLAGS.map(({ file }) => path.dirname(file)))).toEqual(
    new Set(['.', 'docker', 'kubernetes/base', 'kubernetes/gpu', 'slurm', 'systemd']),
  );
  for (const { file, words, options } of FLAGS)
    expect({ file, words, wrong: wrongFlags(words, options) }).toEqual({ file, words, wrong: [] });
  expect(wrongFlags('--threads none --lisen 7080', WORKER_OPTIONS)).toEqual(['--threads none', '--lisen 7080']);
});

it('sets variables that somebody reads', () => {
  const sources = ['apps', 'libs'].flatMap((group) =>
    readdirSync(path.join(root, group), { recursive: true, encoding: 'utf8' })
      .filter((file) => /^[^/]+\/src\/.*\.ts$/.test(file))
      .map((file) => readFileSync(path.join(root, group, file), 'utf8')),
  );
  const programs = [...sources, ...files().map(read)].join('\n');
  const reads = new Set(
    [...programs.matchAll(/env\.(TROUPE_\w+)|'(TROUPE_\w+)'|\$\{?(TROUPE_\w+)|\$\((TROUPE_\w+)\)/g)].map((match) =>
      match.slice(1).find(Boolean),
    ),
  );
  const names = new Set(files().flatMap((file) => read(file).match(/TROUPE_[A-Z_]*[A-Z]/g) ?? []));
  expect(names.size).toBeGreaterThan(8);
  for (const name of names) expect([...reads]).toContain(name);
});

it('agrees on the ports that the commands use by default', () => {
  const usual = (options: readonly AppOption[]) => options.find(({ flag }) => flag === '--port')?.default;
  expect([usual(RUN_OPTIONS), usual(ALLREDUCE_OPTIONS)]).toEqual(['7070', '7071']);
  const { scrape_configs } = readYaml('prometheus/prometheus.yml') as {
    scrape_configs: { static_configs: { targets: string[] }[] }[];
  };
  expect(scrape_configs[0].static_configs[0].targets).toEqual(['coordinator:7070']);
  for (const file of ['proxy/Caddyfile', 'proxy/nginx.conf']) expect(read(file)).toContain('127.0.0.1:7070');
  for (const file of files()) {
    const ports = [...read(file).matchAll(/\b(?:wss?:\/\/[\w.-]+|127\.0\.0\.1|coordinator|HOST|COORDINATOR):(\d{4,5})\b/g)].map(
      ([, port]) => port,
    );
    for (const port of ports) expect(['7070', '7071', '9090', '3000', '3478']).toContain(port);
  }
});

describe('the script for Slurm', () => {
  const script = path.join(deploy, 'slurm/workers.sbatch');
  let bin = '';
  beforeAll(async () => {
    bin = path.join(folder, 'bin');
    await mkdir(bin);
    await writeFile(path.join(bin, 'srun'), '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
    const command = `#!/bin/sh\nexec ${process.execPath} ${path.join(root, 'apps/cli/bin/troupe.mjs')} "$@"\n`;
    await writeFile(path.join(bin, 'troupe'), command, { mode: 0o755 });
  });
  const environment = (more: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
    PATH: `${bin}:${process.env.PATH}`,
    HOME: folder,
    SLURM_JOB_ID: '12',
    SLURM_CPUS_PER_TASK: '2',
    ...more,
  });

  it('joins the run with the token of its file and a thread per core, and ends with the run', async () => {
    const options = { cwd: folder, env: { TROUPE_TOKEN: 'from-a-file' } };
    const coordinator = start(['coordinator', ...SMALL, '--rounds', '30', '--port', '0', '--json'], options);
    try {
      const { address } = await coordinator.line(named('listening'));
      await writeFile(path.join(folder, 'token'), 'from-a-file\n', { mode: 0o600 });
      const settings = { TROUPE_COORDINATOR: String(address), TROUPE_TOKEN_FILE: path.join(folder, 'token') };
      const env = environment({ ...settings, TROUPE_WORKER_FLAGS: '--engine wasm' });
      const { status, output } = call('bash', [script], { env });
      expect({ status, output }).toMatchObject({ status: 0 });
      expect((await coordinator.line(named('worker'))).name).toMatch(/-12$/);
      expect(output).toMatch(/ready at round \d+ with .*/);
      expect((await coordinator.exited).code).toBe(0);
    } finally {
      await end(coordinator);
    }
  });

  it('says what is missing: the address, the token, Slurm', () => {
    const run = (env: NodeJS.ProcessEnv) => call('bash', [script], { env: environment(env) });
    expect(run({}).output).toContain('Set it to the address of the coordinator');
    expect(run({ TROUPE_COORDINATOR: 'ws://c:7070' })).toMatchObject({
      status: 2,
      output: expect.stringContaining('.config/troupe/token'),
    });
    expect(existsSync(path.join(folder, '.config'))).toBe(false);
    const env = { TROUPE_COORDINATOR: 'ws://c:7070', TROUPE_TOKEN_FILE: path.join(folder, 'token'), SLURM_JOB_ID: undefined };
    expect(run(env).output).toContain('Submit this script with sbatch.');
  });
});
