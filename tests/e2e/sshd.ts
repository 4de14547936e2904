/** Starts the real sshd on a loopback port, with keys of its own, for the user who runs the test. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import fs from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

export const HOW_TO_GET_SSHD = 'apt install openssh-server openssh-client';

const SSHD = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd'].find((file) => existsSync(file));

export const hasSshd = SSHD !== undefined && spawnSync('ssh', ['-V']).error === undefined;

/** A machine of the lab: a port of the one sshd, with an environment of its own. */
export interface Machine {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  /** Lines for this host in the settings of ssh. */
  readonly settings?: readonly string[];
  /** The key that is offered: "stranger" is not admitted. */
  readonly key?: 'stranger';
}

export interface Lab {
  /** For --ssh-config. */
  readonly config: string;
  stop(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function makeKey(folder: string, name: string): string {
  const file = path.join(folder, name);
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file]);
  return file;
}

/** Starts sshd for these machines. Also makes the key "stranger", which it does not admit, and the empty file "no-keys". */
export async function startLab(folder: string, machines: readonly Machine[]): Promise<Lab> {
  const [hostKey, key] = [makeKey(folder, 'host-key'), makeKey(folder, 'key')];
  makeKey(folder, 'stranger');
  await fs.writeFile(path.join(folder, 'no-keys'), '');
  await fs.copyFile(`${key}.pub`, path.join(folder, 'authorized'));
  const placed: (Machine & { readonly port: number })[] = [];
  for (const machine of machines) placed.push({ ...machine, port: await freePort() });
  const settings = path.join(folder, 'sshd_config');
  await fs.writeFile(settings, serverSettings(folder, hostKey, placed));
  const publicKey = (await fs.readFile(`${hostKey}.pub`, 'utf8')).trim();
  await fs.writeFile(path.join(folder, 'known'), placed.map(({ port }) => `[127.0.0.1]:${port} ${publicKey}\n`).join(''));
  const config = path.join(folder, 'ssh_config');
  await fs.writeFile(config, clientSettings(folder, key, placed));
  // sshd wants it when root starts it.
  if (process.getuid?.() === 0) await fs.mkdir('/run/sshd', { recursive: true });
  const server = spawn(SSHD!, ['-D', '-e', '-f', settings], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  server.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => server.on('close', () => resolve()));
  for (const { port } of placed) await reach(port, () => (server.exitCode === null ? undefined : log));
  return {
    config,
    async stop() {
      server.kill('SIGKILL');
      await ended;
    },
  };
}

async function reach(port: number, failure: () => string | undefined): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const link = net.connect(port, '127.0.0.1', () => resolve(true));
      link.on('error', () => resolve(false));
      link.on('data', () => link.destroy());
    });
    if (isOpen) return;
    if (failure() !== undefined || Date.now() > deadline) throw new Error(`sshd does not answer:\n${failure() ?? ''}`);
    await sleep(50);
  }
}

function serverSettings(folder: string, hostKey: string, machines: readonly (Machine & { readonly port: number })[]): string {
  return [
    'ListenAddress 127.0.0.1',
    ...machines.map(({ port }) => `Port ${port}`),
    `HostKey ${hostKey}`,
    `AuthorizedKeysFile ${path.join(folder, 'authorized')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PidFile none',
    ...machines.flatMap(({ port, env }) => [
      `Match LocalPort ${port}`,
      `  SetEnv ${Object.entries(env)
        .map(([name, value]) => `${name}=${value}`)
        .join(' ')}`,
    ]),
    '',
  ].join('\n');
}

function clientSettings(folder: string, key: string, machines: readonly (Machine & { readonly port: number })[]): string {
  const each = machines.map(({ name, port, settings = [], key: other }) => [
    `Host ${name}`,
    ...[
      ...settings,
      `IdentityFile ${other === undefined ? key : path.join(folder, other)}`,
      'HostName 127.0.0.1',
      `Port ${port}`,
      `User ${os.userInfo().username}`,
    ].map((line) => `  ${line}`),
  ]);
  // The first value of a setting counts, so those of a machine come before the general ones.
  const all = ['Host *', '  IdentitiesOnly yes', `  UserKnownHostsFile ${path.join(folder, 'known')}`, '  IdentityAgent none'];
  return [...each.flat(), ...all, ''].join('\n');
}
