/**
 * A coordinator, workers and an all-reduce service, each started by a command of its own, as in a
 * lab.
 */
import fs from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appOf, at, childrenOf, named, scratch, SMALL, start, type Running } from './troupe.js';

let cwd = '';
const started: Running[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  for (const { child } of started) child.kill('SIGKILL');
  await fs.rm(cwd, { recursive: true, force: true });
});

const TOKEN = 'a-token-of-this-test';
function launch(...args: string[]): Running {
  const running = start(args, { cwd, env: { TROUPE_ALLREDUCE_TOKEN: 'a-secret-of-this-test' } });
  started.push(running);
  return running;
}
async function coordinator(out: string, ...args: string[]): Promise<{ running: Running; address: string }> {
  const running = launch('coordinator', ...SMALL, '--port', '0', '--token', TOKEN, '--out', out, '--json', ...args);
  const { address } = await running.line(named('listening'));
  return { running, address: address as string };
}

describe('a coordinator and workers started separately', () => {
  it('do the same as train, wait for the first worker, and accept one that joins later', async () => {
    const { running, address } = await coordinator('by-hand', '--rounds', '1000000');
    await running.line(named('waiting'));
    const early = launch('worker', address, '--token', TOKEN, '--name', 'early');
    await running.line(at(5));
    const late = launch('worker', address, '--token', TOKEN, '--name', 'late', '--json');
    await late.line((line) => line.kind === 'computed');
    const site = address.replace('ws', 'http');
    const page = await fetch(site);
    expect(page.headers.get('content-type')).toContain('text/html');
    expect(await page.text()).not.toContain(TOKEN);
    expect((await fetch(`${site}/nowhere`)).status).toBe(404);
    expect((await fetch(`${site}/api/run`)).status).toBe(401);
    const facts = await fetch(`${site}/api/run`, { headers: { authorization: `Bearer ${TOKEN}` } });
    const { workerCount, rounds } = (await facts.json()) as { workerCount: number; rounds: number };
    expect({ workerCount, rounds }).toEqual({ workerCount: 2, rounds: 1_000_000 });
    running.child.kill('SIGTERM');
    expect((await running.exited).code).toBe(0);
    expect(await running.line(named('finished'))).toMatchObject({ reason: 'stopped' });
    // The token is on their command line, and nothing else is wrong.
    const stderr = expect.stringMatching(/^warning: other users [^\n]* --token\n[^\n]*TROUPE_TOKEN=SECRET[^\n]*\n$/);
    for (const worker of [early, late]) expect(await worker.exited).toMatchObject({ code: 0, stderr });
  });

  it('refuse a worker with a wrong token, which then says what to do', async () => {
    const { running, address } = await coordinator('wrong-token', '--rounds', '200');
    const intruder = await launch('worker', address, '--token', 'guess').exited;
    expect(intruder.code).toBe(4);
    expect(intruder.stderr).toMatch(/token/);
    expect(await running.line((line) => line.event === 'worker' && line.change === 'refused')).toBeDefined();
    running.child.kill('SIGTERM');
    expect((await running.exited).code).toBe(0);
  });

  it('work with an all-reduce service in a separate process', async () => {
    const service = launch('allreduce', '--port', '0');
    const address = /ws:\/\/127\.0\.0\.1:\d+/;
    await expect.poll(service.text, { timeout: 20_000 }).toMatch(address);
    const [url] = address.exec(service.text())!;
    const { running, address: door } = await coordinator('apart', '--rounds', '1000', '--allreduce', url);
    launch('worker', door, '--token', TOKEN, '--name', 'a');
    launch('worker', door, '--token', TOKEN, '--name', 'b');
    expect((await running.exited).code).toBe(0);
    expect(await running.line(named('finished'))).toMatchObject({ round: 1000, reason: 'completed' });
    service.child.kill('SIGTERM');
    expect((await service.exited).code).toBe(0);
  });

  it('continue when the all-reduce service is killed and started again', async () => {
    const first = launch('allreduce', '--port', '0', '--json');
    const { address } = await first.line((line) => typeof line.address === 'string');
    const { running, address: door } = await coordinator('restarted', '--rounds', '3000', '--allreduce', address as string);
    launch('worker', door, '--token', TOKEN, '--name', 'a');
    await running.line(at(20));
    const [app] = await childrenOf(first.child.pid!);
    process.kill(app.pid, 'SIGKILL');
    await running.line((line) => line.event === 'waiting' && /all-reduce/.test(line.reason as string));
    launch('allreduce', '--port', new URL(address as string).port);
    expect((await running.exited).code).toBe(0);
    expect(await running.line(named('finished'))).toMatchObject({ round: 3000, reason: 'completed' });
  });

  it('survive a killed coordinator: workers wait, and the resumed run continues with them', async () => {
    const first = await coordinator('crash', '--rounds', '1000', '--checkpoint-every', '10');
    const worker = launch('worker', first.address, '--token', TOKEN, '--name', 'patient', '--json');
    await first.running.line((line) => line.event === 'checkpoint' && (line.round as number) >= 20);
    const [app] = await childrenOf(first.running.child.pid!);
    process.kill(app.pid, 'SIGKILL');
    await first.running.exited;
    const port = new URL(first.address).port;
    const second = launch('coordinator', '--resume', '--port', port, '--token', TOKEN, '--out', 'crash', '--json');
    expect(((await second.line(named('started'))).round as number) >= 20).toBe(true);
    expect((await second.exited).code).toBe(0);
    expect((await worker.exited).code).toBe(0);
    const credits = worker.lines.filter((line) => line.kind === 'computed').map((line) => line.credit as number);
    // The crash does not reset them.
    expect(credits).toEqual(credits.toSorted((x, y) => x - y));
  });
});

/** Processor time of a process so far, s, from /proc. */
async function processorSeconds(pid: number): Promise<number> {
  const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

describe('a worker whose machine is lent in part', () => {
  it('computes in its share of the time', async () => {
    const { running, address } = await coordinator(
      'share',
      '--rounds',
      '1000000',
      '--hidden',
      '192',
      '--batch',
      '32',
      '--window',
      '64',
    );
    const flags = ['--engine', 'wasm', '--share', '20', '--json'];
    const worker = launch('worker', address, '--token', TOKEN, ...flags);
    const pid = await appOf(worker);
    await running.line(at(5));
    const [before, startMs] = [await processorSeconds(pid), performance.now()];
    await sleep(3_000);
    const share = ((await processorSeconds(pid)) - before) / ((performance.now() - startMs) / 1000);
    expect(share).toBeGreaterThan(0.02);
    // Besides its gradients a worker takes updates in; without the flag it uses more than 0.5 even on a busy machine.
    expect(share).toBeLessThan(0.4);
    running.child.kill('SIGTERM');
    expect((await running.exited).code).toBe(0);
    expect((await worker.exited).code).toBe(0);
  });

  it('says until when it waits outside its hours, and ends when it is asked to', async () => {
    const hour = (offset: number): string => `${String((new Date().getHours() + offset) % 24).padStart(2, '0')}:00`;
    const worker = launch('worker', 'ws://127.0.0.1:9', '--token', TOKEN, '--hours', `${hour(2)}-${hour(3)}`, '--json');
    const reason = `outside its hours; it continues at ${hour(2)}`;
    expect(await worker.line(({ kind }) => kind === 'waiting')).toEqual({ kind: 'waiting', why: 'hours', reason });
    worker.child.kill('SIGTERM');
    expect((await worker.exited).code).toBe(0);
  });
});
