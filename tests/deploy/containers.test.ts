/**
 * The image and the Compose file. No test builds the image, because that takes a Docker engine and its registry. The Dockerfile is linted, the
 * entry point runs, and where `unshare` can make a process namespace, the command runs as process 1 in it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { validate, ValidationSeverity } from 'dockerfile-utils';
import { parse, stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childrenOf, root, SMALL } from '../e2e/troupe.js';
import { call, deploy, has, read, readYaml, version } from './files.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'troupe-deploy-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Instructions with continued lines joined, without comments. */
const instructions = (): string[] =>
  read('docker/Dockerfile')
    .replaceAll(/^\s*#.*\n/gm, '')
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .filter(Boolean);

/** Instructions of the stages that end up in the image that is built without --target, the last stage first. */
function shipped(): string[] {
  const stages = new Map<string, { from: string; lines: string[] }>();
  let current = '';
  for (const line of instructions()) {
    const [, from, name] = /^FROM (\S+) AS (\S+)$/.exec(line) ?? [];
    if (name !== undefined) stages.set((current = name), { from, lines: [] });
    else stages.get(current)?.lines.push(line);
  }
  const found: string[] = [];
  for (let stage = stages.get(current); stage !== undefined; stage = stages.get(stage.from)) found.unshift(...stage.lines);
  return found;
}

describe('the Dockerfile', () => {
  it('passes the linter of the Docker language server', () => {
    const settings = { instructionWorkdir: ValidationSeverity.ERROR, instructionCmdMultiple: ValidationSeverity.ERROR };
    const problems = validate(read('docker/Dockerfile'), settings);
    expect(problems.map(({ message, range }) => ({ message, line: range.start.line + 1 }))).toEqual([]);
    expect(validate('FORM x', settings)).not.toEqual([]);
  });

  it('names a version of every image that it takes from a registry', () => {
    const names = instructions().flatMap((line) => /^FROM (\S+) AS (\S+)$/.exec(line)?.slice(1) ?? []);
    const stages = names.filter((_, i) => i % 2 === 1);
    const images = names.filter((name, i) => i % 2 === 0 && !stages.includes(name));
    expect(images).toHaveLength(2);
    for (const image of images) expect(image).toMatch(/^[a-z]+:\d+\.\d+(\.\d+)?-(bookworm-)?slim$/);
    for (const line of instructions().filter((one) => one.startsWith('COPY --from')))
      expect(stages).toContain(/--from=(\S+)/.exec(line)![1]);
  });

  it('installs the release of this version, which is all that the build sees of the clone besides its entry point', () => {
    expect(instructions()).toContain(`ARG TROUPE_VERSION=${version}`);
    const seen = call('cat', [path.join(root, '.dockerignore')])
      .output.split('\n')
      .filter((line) => /^[^#]/.test(line));
    expect(seen).toEqual(['*', '!dist/troupe-*.tgz', '!deploy/docker/entrypoint.sh']);
    const copied = instructions().flatMap((line) => /^COPY (?!--from)(\S+)/.exec(line)?.[1] ?? []);
    expect(copied.sort()).toEqual(['deploy/docker/entrypoint.sh', 'dist/troupe-${TROUPE_VERSION}.tgz']);
  });

  it('runs one command without a shell around it, as a user who is not root, and asks for the health of the coordinator', () => {
    const last = (name: string) =>
      shipped()
        .filter((line) => line.startsWith(`${name} `))
        .at(-1);
    expect(last('USER')).toMatch(/^USER [1-9]\d{3,}:\d+$/);
    expect(last('ENTRYPOINT')).toBe('ENTRYPOINT ["troupe-entrypoint"]');
    expect(last('HEALTHCHECK')).toContain('http://127.0.0.1:7070/healthz');
    expect(last('EXPOSE')).toBe('EXPOSE 7070');
  });

  it('leaves no lists of packages in a layer, and installs only what it names', () => {
    const installing = instructions().filter((line) => line.includes('apt-get install'));
    expect(installing).not.toEqual([]);
    for (const line of installing) expect(line).toMatch(/update .*--no-install-recommends .*rm -rf \/var\/lib\/apt\/lists/);
  });

  it('asks for health with a program that tells an answer from none', async () => {
    const command = JSON.parse(/\[.*\]/.exec(shipped().find((line) => line.startsWith('HEALTHCHECK'))!)![0]) as string[];
    const against = (port: number) =>
      new Promise<number | null>((resolve) => {
        const asked = command.map((word) => word.replace('7070', String(port))).slice(1);
        spawn(process.execPath, asked, { stdio: 'ignore' }).on('close', resolve);
      });
    const { createServer } = await import('node:http');
    const server = createServer((request, response) => response.writeHead(request.url === '/healthz' ? 200 : 404).end());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as { port: number };
    expect(await against(port)).toBe(0);
    server.close();
    await once(server, 'close');
    expect(await against(port)).toBe(1);
  });
});

describe('the entry point of the image', () => {
  let bin = '';
  beforeAll(async () => {
    bin = path.join(folder, 'bin');
    await mkdir(bin);
    await writeFile(path.join(bin, 'troupe'), '#!/bin/sh\nprintf "%s\\n" "$@"\n');
    await chmod(path.join(bin, 'troupe'), 0o755);
  });
  const words = (args: readonly string[], env: NodeJS.ProcessEnv = {}): string[] => {
    const { output } = call('sh', [path.join(deploy, 'docker/entrypoint.sh'), ...args], {
      env: { PATH: `${bin}:${process.env.PATH}`, ...env },
    });
    return output.trimEnd().split('\n');
  };

  it('starts a run with the flags of the environment, and continues it where a checkpoint is', async () => {
    const run = path.join(folder, 'run');
    const env = { TROUPE_RUN: run, TROUPE_FLAGS: '--layers 2  --name x' };
    const expected = ['coordinator', '--keep-serving', '--out', run, '--layers', '2', '--name', 'x', '--host', '0.0.0.0'];
    expect(words(['coordinator', '--host', '0.0.0.0'], env)).toEqual(expected);
    await mkdir(run);
    await writeFile(path.join(run, 'history.jsonl'), '');
    expect(words(['coordinator', '--host', '0.0.0.0'], env)).toEqual(expected);
    for (const round of [100, 200]) await writeFile(path.join(run, `round-${round}.safetensors`), '');
    expect(words(['coordinator', '--host', '0.0.0.0'], env)).toEqual([...expected, '--resume']);
  });

  it('gives workers their flags, and other commands only those that are typed', () => {
    const env = { TROUPE_FLAGS: '--layers 2', TROUPE_WORKER_FLAGS: '--threads 4' };
    expect(words(['worker', 'ws://c:7070'], env)).toEqual(['worker', 'ws://c:7070', '--threads', '4']);
    expect(words(['doctor'], env)).toEqual(['doctor']);
  });
});

const NAMESPACES = ['--pid', '--fork', '--kill-child'];

it.skipIf(!has('unshare', ...NAMESPACES, 'true'))(
  'saves and ends when it is stopped as process 1, which ignores signals that nobody handles (needs unshare, and root)',
  async () => {
    const command = [process.execPath, path.join(root, 'apps/cli/bin/troupe.mjs'), 'coordinator', ...SMALL];
    const args = [...NAMESPACES, ...command, '--port', '0', '--out', path.join(folder, 'first'), '--json'];
    const child = spawn('unshare', args, { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder });
    let output = '';
    const listening = new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        if (output.includes('"listening"')) resolve();
      });
    });
    const ended = once(child, 'close');
    await Promise.race([listening, ended]);
    const [first] = await childrenOf(child.pid!);
    process.kill(first.pid, 'SIGTERM');
    expect((await ended)[0]).toBe(0);
    expect(output).toContain('"event":"finished"');
  },
);

interface Service {
  readonly image: string;
  readonly command?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly secrets?: readonly string[];
  readonly depends_on?: Record<string, { condition: string }>;
  readonly healthcheck?: { disable?: boolean };
  readonly build?: { context: string; dockerfile: string };
}

describe('the Compose file', () => {
  const compose = readYaml('docker/compose.yaml') as {
    services: Record<string, Service>;
    volumes: Record<string, unknown>;
    secrets: Record<string, { environment: string }>;
  };
  const services = Object.entries(compose.services);
  const example = [...read('docker/env.example').matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name);

  it('runs a coordinator, workers, coturn, Prometheus and Grafana, each of a version that is named', () => {
    expect(Object.keys(compose.services)).toEqual(['coordinator', 'worker', 'coturn', 'prometheus', 'grafana']);
    for (const [, { image }] of services) expect(image).toMatch(/:v?\d+\.\d+\.\d+$/);
    for (const name of ['coordinator', 'worker']) {
      expect(compose.services[name].image).toBe(`troupe:${version}`);
      expect(compose.services[name].build?.dockerfile).toBe('deploy/docker/Dockerfile');
    }
  });

  it('holds no secret: each comes from a variable that the example of the file .env has', () => {
    const taken = [...read('docker/compose.yaml').matchAll(/(?<!\$)\$\{([A-Z_]+)/g)].map(([, name]) => name);
    expect([...new Set(taken)].sort()).toEqual([...example].sort());
    for (const [name, { environment = {} }] of services) {
      for (const [variable, value] of Object.entries(environment)) {
        if (/TOKEN|SECRET|PASSWORD/.test(variable)) expect(`${name}: ${value}`).toMatch(/: \$\{\w+:[-?].*\}$/);
      }
    }
    for (const { environment } of Object.values(compose.secrets)) expect(example).toContain(environment);
    expect(read('docker/env.example')).not.toMatch(/(TOKEN|SECRET|PASSWORD)=\S/);
  });

  it('gives workers no token but their own', () => {
    expect(Object.keys(compose.services.worker.environment!)).toEqual(['TROUPE_TOKEN', 'TROUPE_WORKER_FLAGS']);
  });

  it('mounts files that exist, and volumes and secrets that it declares', () => {
    const mounts = services.flatMap(([, { volumes = [] }]) => volumes.map((volume) => volume.split(':')[0]));
    for (const source of mounts) {
      if (source.startsWith('.'))
        expect({ source, isThere: existsSync(path.join(deploy, 'docker', source)) }).toMatchObject({ isThere: true });
      else expect(Object.keys(compose.volumes)).toContain(source);
    }
    for (const [, { secrets = [] }] of services)
      for (const secret of secrets) expect(Object.keys(compose.secrets)).toContain(secret);
  });

  it('waits for the health of services that have a health check', () => {
    for (const [, { depends_on = {} }] of services) {
      for (const [needed, { condition }] of Object.entries(depends_on)) {
        const other = compose.services[needed];
        expect(['service_healthy', 'service_started']).toContain(condition);
        const isChecked = other.healthcheck !== undefined ? !other.healthcheck.disable : other.build !== undefined;
        if (condition === 'service_healthy') expect({ needed, isChecked }).toEqual({ needed, isChecked: true });
      }
    }
  });

  it('shows only the coordinator to other machines', () => {
    const open = services.flatMap(([name, { ports = [] }]) =>
      ports.filter((port) => !port.startsWith('127.0.0.1:')).map(() => name),
    );
    expect(open).toEqual(['coordinator']);
  });

  it('gives coturn its secret in a file that only the container has, and nothing without one', async () => {
    const script = (compose.services.coturn.command as string[])[0].replaceAll('$$', '$');
    const bin = path.join(folder, 'turn');
    await mkdir(bin);
    await writeFile(path.join(bin, 'turnserver'), '#!/bin/sh\ncat "$2"\n', { mode: 0o755 });
    const here = script
      .replaceAll('/tmp/', `${bin}/`)
      // Last: the clone may be in /tmp as well.
      .replaceAll('/etc/coturn/troupe.conf', path.join(deploy, 'coturn/turnserver.conf'));
    const start = (secret: string) =>
      call('sh', ['-ec', here], { env: { PATH: `${bin}:${process.env.PATH}`, TROUPE_TURN_SECRET: secret } });
    const secrets = start('abc').output.match(/^static-auth-secret=.*$/gm);
    expect(secrets).toEqual(['static-auth-secret=abc']);
    expect(start('').status).not.toBe(0);
  });

  const newest = has('docker', 'compose', 'version');
  it.skipIf(!newest && !has('docker-compose'))(
    'is accepted by Docker Compose, which then knows every service (needs docker compose, or docker-compose of Debian)',
    async () => {
      // Version 1 of Compose, which Debian 12 has, knows neither a name nor secrets from the environment.
      const { name: _, secrets: __, ...known } = parse(read('docker/compose.yaml'), { merge: true }) as Record<string, unknown>;
      const file = path.join(deploy, 'docker/compose.yaml');
      const old = path.join(folder, 'compose.yaml');
      await writeFile(
        old,
        stringify({ ...known, secrets: { metrics_token: { file: './token' } } }, { aliasDuplicateObjects: false }),
      );
      const env = { ...process.env, ...Object.fromEntries(example.map((variable) => [variable, `the-${variable}`])) };
      const [command, ...args] = newest ? ['docker', 'compose', '--file', file] : ['docker-compose', '--file', old];
      const check = (variables: NodeJS.ProcessEnv) => call(command, [...args, 'config'], { env: variables, cwd: folder });
      const { status, output } = check(env);
      expect({ status, output }).toMatchObject({ status: 0 });
      expect(output).toContain('TROUPE_TOKEN: the-TROUPE_TOKEN');
      expect(check({ ...env, TROUPE_TOKEN: '' }).output).toContain('write it into .env');
    },
  );
});
