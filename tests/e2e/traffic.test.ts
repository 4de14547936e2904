/** Workers that limit how much they send and receive, and how fast, in real processes. */
import fs from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { at, named, scratch, SMALL, start, type Line, type Running } from './troupe.js';

const TOKEN = 'a-token-of-workers';
const env = { TROUPE_TOKEN: TOKEN };
const started: Running[] = [];
let cwd = '';
beforeAll(async () => void (cwd = await scratch()));
afterEach(async () => {
  for (const { child, exited } of started.splice(0)) {
    child.kill('SIGKILL');
    await exited;
  }
});
afterAll(() => fs.rm(cwd, { recursive: true, force: true }));

const launch = (...args: string[]): Running => {
  const running = start(args, { cwd, env });
  started.push(running);
  return running;
};

async function coordinate(out: string, ...flags: string[]) {
  const running = launch('coordinator', ...SMALL, '--port', '0', '--rounds', '1000000', '--out', out, '--json', ...flags);
  const { address } = await running.line(named('listening'));
  const work = (name: string, ...more: string[]): Running =>
    launch('worker', address as string, '--name', name, '--engine', 'wasm', '--json', ...more);
  return { running, work };
}

/** A gradient of 0.3 M parameters in float32. */
const LARGE = ['--hidden', '256', '--eval-every', '0'];
const kind = (name: string) => (line: Line) => line.kind === name;
const rounds = ({ lines }: Running): number => lines.filter(at(0)).length;

it('a worker leaves at its traffic limit when its work counts, and ends with a code of its own', async () => {
  const { running, work } = await coordinate('limit', ...LARGE);
  const worker = work('limited', '--traffic-limit', '60MB');
  const { code, stdout } = await worker.exited;
  expect(code).toBe(5);
  const last = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>;
  expect(last).toMatchObject({ kind: 'limit', limitBytes: 60e6 });
  const total = last.sentBytes + last.receivedBytes;
  expect(total).toBeGreaterThanOrEqual(60e6);
  // What was under way: a round takes 2.4 MB.
  expect(total).toBeLessThan(66e6);
  expect(worker.lines.some(kind('refused'))).toBe(false);
  await running.line((line) => line.event === 'worker' && line.change === 'left');
  // Another computes what is left, and nothing was lost.
  const before = rounds(running);
  work('other');
  await expect.poll(() => rounds(running), { timeout: 30_000 }).toBeGreaterThan(before + 3);
});

it('a worker with a rate limit sends and receives no faster', async () => {
  const { work } = await coordinate('rate', ...LARGE);
  const worker = work('limited', '--rate-limit', '8', '--traffic-limit', '16MB');
  await worker.line(kind('welcome'));
  const startMs = performance.now();
  const { code, stdout } = await worker.exited;
  const seconds = (performance.now() - startMs) / 1000;
  const last = JSON.parse(stdout.trim().split('\n').at(-1)!) as Record<string, number>;
  expect(code).toBe(5);
  // 1 MB a second each way, and what may pass at once.
  expect(Math.max(last.sentBytes, last.receivedBytes) / seconds).toBeLessThan(1.1e6);
  expect(worker.lines.some(kind('lost'))).toBe(false);
});
