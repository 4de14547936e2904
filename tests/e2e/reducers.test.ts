/** Reducers and workers that sum change no bit of the result: not their number, not where they run, not the loss of one. */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { findNodeRtc } from '@troupe/transport/webrtc-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashes } from './company.js';
import { appOf, at, end, named, scratch, signal, SMALL, start, steer, type Line, type Running } from './troupe.js';

const rtc = await findNodeRtc();
const TOKEN = 'a-token-of-this-test';
const ADMIN = 'a-token-of-admins';
/** Long enough for a process to end and start again in between. */
const FLAGS = [
  ...SMALL,
  '--rounds',
  '250',
  '--eval-every',
  '0',
  '--checkpoint-every',
  '0',
  '--reproducible',
  '--lease-streams',
  '4',
];

let cwd = '';
const started: Running[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  await Promise.all(started.map(end));
  await fs.rm(cwd, { recursive: true, force: true });
});

function launch(...args: string[]): Running {
  const running = start(args, {
    cwd,
    env: { TROUPE_TOKEN: TOKEN, TROUPE_ADMIN_TOKEN: ADMIN, TROUPE_ALLREDUCE_TOKEN: 'a-secret-of-this-test' },
  });
  started.push(running);
  return running;
}

async function filesOf({ exited }: Running, out: string): Promise<Record<string, string>> {
  const { code, stderr } = await exited;
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return hashes(path.join(cwd, out));
}

function train(out: string, ...flags: string[]): Running {
  return launch('train', ...FLAGS, ...flags, '--workers', '1', '--out', out, '--json');
}

interface Service {
  readonly running: Running;
  readonly address: string;
  readonly port: number;
}

async function serve(port = 0): Promise<Service> {
  const running = launch('allreduce', '--port', String(port), '--json');
  const address = (await running.line(named('listening'))).address as string;
  return { running, address, port: Number(new URL(address).port) };
}

async function coordinate(out: string, ...flags: readonly string[]) {
  const running = launch('coordinator', ...FLAGS, '--port', '0', '--out', out, '--json', ...flags);
  const address = (await running.line(named('listening'))).address as string;
  return { running, address, steer: (action: string) => steer(address, ADMIN, action) };
}

const says = (text: string) => (line: Line) => line.event === 'note' && (line.text as string).includes(text);

/** Sockets of a process, from /proc: the remote port of each, 0 where there is none, and its state. */
async function socketsOf(pid: number, protocol: 'tcp' | 'udp'): Promise<{ readonly port: number; readonly state: string }[]> {
  const fds = await fs.readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(fds.map((fd) => fs.readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  const own = new Set(targets.flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []));
  const tables = await Promise.all([protocol, `${protocol}6`].map((table) => fs.readFile(`/proc/net/${table}`, 'utf8')));
  const rows = tables.flatMap((table) => table.split('\n').map((row) => row.trim().split(/\s+/)));
  return rows
    .filter(([, , , , , , , , , inode]) => own.has(inode))
    .map(([, , remote, state]) => ({ port: parseInt(remote.split(':')[1], 16), state }));
}

/** Ports to which a process is connected. */
async function portsOf(pid: number): Promise<number[]> {
  return (await socketsOf(pid, 'tcp')).filter(({ state }) => state === '01').map(({ port }) => port);
}

/** Without reducers. */
let expected: Record<string, string>;
beforeAll(async () => {
  expected = await filesOf(train('alone'), 'alone');
});

describe('a reproducible run', () => {
  it('gives the same checkpoint with two threads that sum, to which its workers connect', async () => {
    const running = train('threads', '--reducers', '2');
    const note = await running.line(says('2 reducers'));
    const ports = (note.text as string).match(/\d{4,}/g)!.map(Number);
    await running.line(at(1));
    const worker = await appOf(running, 'worker/dist/main');
    await expect.poll(() => portsOf(worker), { interval: 10 }).toEqual(expect.arrayContaining(ports));
    expect(await filesOf(running, 'threads')).toEqual(expected);
  });

  it('gives the same checkpoint with three services, when one is killed and started again', async () => {
    const services = await Promise.all([serve(), serve(), serve()]);
    const [hub, , lost] = services;
    const { running, address, steer } = await coordinate(
      'services',
      '--allreduce',
      services.map(({ address: each }) => each).join(),
    );
    const worker = await appOf(launch('worker', address, '--name', 'a'));
    const direct = services.slice(1).map(({ port }) => port);
    await expect.poll(() => portsOf(worker), { interval: 10, timeout: 20_000 }).toEqual(expect.arrayContaining(direct));

    signal(await appOf(lost.running), 'SIGKILL');
    await hub.running.line(says(`${lost.address} is lost`));
    const { length } = running.lines.filter(named('round'));
    await running.line(at(length + 20));
    await steer('pause');
    await serve(lost.port);
    const isBack = () => hub.running.lines.filter(says(`${lost.address} is here`)).length === 2;
    await expect.poll(isBack, { timeout: 20_000 }).toBe(true);
    // It links to the reducer before the reducer sums again.
    await expect.poll(() => portsOf(worker), { interval: 10 }).toContain(lost.port);
    await steer('resume');
    expect(await filesOf(running, 'services')).toEqual(expected);
  });

  /** @param linked whether a worker has its link to the other one */
  const sumForEachOther = async (
    out: string,
    flags: readonly string[],
    linked: (pid: number, coordinator: number) => Promise<boolean>,
  ) => {
    const { running, address, steer } = await coordinate(out, '--topology', 'peers');
    // Slow engines: each worker is needed, and none is parked before it has a link.
    await steer('pause');
    const [a, b] = ['a', 'b'].map((name) => launch('worker', address, '--name', name, '--share', '20', ...flags));
    const apps = await Promise.all([appOf(a), appOf(b)]);
    const port = Number(new URL(address).port);
    await expect.poll(async () => Promise.all(apps.map((pid) => linked(pid, port))), { timeout: 20_000 }).toEqual([true, true]);
    // The handshake of a WebRTC link keeps a processor busy: a first round that is slow for it would park a worker.
    await sleep(1_000);
    await steer('resume');
    const chosen = (names: number) => (line: Line) =>
      line.event === 'decision' && (line.decision as { kind: string; reducers?: readonly string[] }).reducers?.length === names;
    await running.line(chosen(2));
    const { length } = running.lines.filter(named('round'));
    await running.line(at(length + 20));
    signal(apps[0], 'SIGKILL');
    await running.line(chosen(0));
    expect(await filesOf(running, out)).toEqual(expected);
  };

  it('gives the same checkpoint when its workers sum for each other, and one of them is killed', () =>
    sumForEachOther('peers', ['--listen', '127.0.0.1:0'], async (pid, coordinator) =>
      (await portsOf(pid)).some((port) => port !== coordinator),
    ));

  const missing = rtc ? '' : ' (SKIPPED: npm install node-datachannel)';
  it.skipIf(!rtc)(`gives the same checkpoint when they do so over WebRTC${missing}`, () =>
    sumForEachOther('webrtc', ['--webrtc'], async (pid, coordinator) => {
      const [direct, udp] = [(await portsOf(pid)).filter((port) => port !== coordinator), await socketsOf(pid, 'udp')];
      return direct.length === 0 && udp.length > 0;
    }),
  );
});
