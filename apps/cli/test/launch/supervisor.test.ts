import net, { type AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { localHost } from '../../src/launch/hosts.js';
import { supervise } from '../../src/launch/supervisor.js';
import { encode, SILENCE_MS, type FromHost } from '../../src/launch/wire.js';
import { isAlive, standIns, until } from '../fixtures/shell.js';

const { slots } = localHost(1, { engine: 'wasm', threads: 3 });

/** What a stand-in for the worker app tells a coordinator. */
interface Joined {
  readonly token: string;
  readonly name: string;
  readonly pid: number;
  readonly args: readonly string[];
}

const joined: Joined[] = [];
let server: net.Server;
beforeEach(async () => {
  joined.length = 0;
  server = net.createServer((link) => {
    link.on('error', () => undefined);
    link.on('data', (text) => joined.push(JSON.parse(text.toString()) as Joined));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => {
  vi.useRealTimers();
  server.close();
});

function host(env: Record<string, string> = {}, launch = 'one') {
  const orders = new PassThrough();
  const said: FromHost[] = [];
  const stop = new AbortController();
  const ended = supervise({
    orders,
    say: (message) => said.push(message),
    worker: standIns.worker,
    env: { PATH: process.env.PATH, ...env },
    cores: 2,
    now: () => performance.now(),
    random: () => 0,
    signal: stop.signal,
  });
  const address = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/control`;
  const start = () => orders.write(encode({ do: 'start', token: 'the-token', address, launch, by: 'this test', slots }));
  return { orders, said, stop, ended, start };
}

describe('a supervisor', () => {
  it('starts workers with the token in their environment, and not in their arguments', async () => {
    const { orders, ended, start } = host();
    start();
    await until(() => joined.length === 1, 'a worker');
    expect(joined[0]).toMatchObject({ token: 'the-token', args: ['--threads=3', '--json'] });
    orders.end();
    await ended;
    expect(isAlive(joined[0].pid)).toBe(false);
  });

  it('ends workers when its input ends, also one that ignores SIGTERM', async () => {
    const { orders, ended, start } = host({ TEST_WORKER: 'hangs' });
    start();
    await until(() => joined.length === 1, 'a worker');
    orders.end();
    const endedAtMs = performance.now();
    await ended;
    expect(isAlive(joined[0].pid)).toBe(false);
    // Silence would end them too, but much later.
    expect(performance.now() - endedAtMs).toBeLessThan(SILENCE_MS / 2);
  });

  it('ends workers when nothing comes from the launcher, and not while something does', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
    const { orders, ended, start } = host();
    start();
    await vi.waitFor(() => expect(joined).toHaveLength(1), { timeout: 10_000 });
    for (let i = 0; i < 3; i++) {
      vi.advanceTimersByTime(SILENCE_MS - 1_000);
      orders.write(encode({ do: 'beat' }));
      await vi.waitFor(() => expect(orders.readableLength).toBe(0));
    }
    expect(isAlive(joined[0].pid)).toBe(true);
    vi.advanceTimersByTime(SILENCE_MS + 1_000);
    vi.useRealTimers();
    await ended;
    expect(isAlive(joined[0].pid)).toBe(false);
  });

  it('starts a worker again that fails, and says what it wrote', async () => {
    const { said, orders, ended, start } = host({ TEST_WORKER: 'dies' });
    start();
    await until(() => said.some(({ at }) => at === 'ended'), 'an end');
    orders.end();
    await ended;
    const end = said.find(({ at }) => at === 'ended');
    expect(end).toMatchObject({ next: 'restarts', how: 'exit code 1', why: 'the engine caught fire' });
  });

  it('gives up a worker that is refused, and passes on its reason and remedy', async () => {
    const { said, ended, start } = host({ TEST_WORKER: 'is refused' });
    start();
    await ended;
    const ends = said.filter(({ at }) => at === 'ended');
    expect(ends).toEqual([expect.objectContaining({ next: 'failed', why: 'the token is wrong', remedy: 'Use another.' })]);
  });

  it('takes the workers over from an earlier link of the same launch, and leaves those of another', async () => {
    const first = host();
    first.start();
    await until(() => joined.length === 1, 'a worker');
    const other = host({}, 'two');
    other.start();
    await other.ended;
    expect(other.said.find(({ at }) => at === 'held')).toMatchObject({ slot: 'local/1', by: 'this test' });
    expect(isAlive(joined[0].pid)).toBe(true);
    const later = host();
    later.start();
    await until(() => joined.length === 2, 'another worker');
    await first.ended;
    expect(isAlive(joined[0].pid)).toBe(false);
    later.stop.abort();
    await later.ended;
    expect(isAlive(joined[1].pid)).toBe(false);
  });
});
