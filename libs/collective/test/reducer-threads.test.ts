/** Reducers in threads: where they listen, what happens when one ends, and when they cannot start. */
import { existsSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { connectWebSocket } from '@troupe/transport/websocket';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startReducers, type ReducerData, type Reducers, type ReducersOptions } from '../src/node/reducers.js';
import type { ServiceNote } from '../src/star/index.js';

const script = fileURLToPath(new URL('../dist/node/reducer-thread.js', import.meta.url));
beforeAll(() => {
  if (!existsSync(script)) throw new Error(`${script} is missing: run "npm run build" first`);
});

let notes: ServiceNote[] = [];
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()));
  notes = [];
});

const OPTIONS: ReducersOptions = {
  reducers: 2,
  host: '127.0.0.1',
  port: 0,
  places: 100,
  token: 'secret',
  log: (note) => notes.push(note),
  logThreads: (note) => notes.push(note),
  signal: new AbortController().signal,
};

async function open(changes: Partial<ReducersOptions> = {}): Promise<Reducers> {
  const reducers = await startReducers({ ...OPTIONS, ...changes });
  closing.push(() => reducers.close());
  return reducers;
}

async function occupy(port = 0): Promise<{ readonly port: number; readonly server: Server }> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  closing.push(() => new Promise((resolve) => server.close(resolve)));
  return { port: (server.address() as AddressInfo).port, server };
}

async function listens(address: string): Promise<boolean> {
  try {
    (await connectWebSocket(address)).close('enough');
    return true;
  } catch {
    return false;
  }
}

describe('reducers in threads', () => {
  it('listen until they are closed, and leave their ports free', async () => {
    const { addresses, ports, close } = await open();
    expect(addresses).toEqual(ports.map((port) => ({ address: `ws://127.0.0.1:${port}`, forWorkers: `:${port}` })));
    for (const { address } of addresses) expect(await listens(address)).toBe(true);
    await close();
    for (const port of ports) await occupy(port);
    expect(notes).toEqual([]);
  });

  it('take the ports after that of the service, and say which one is in use', async () => {
    const { port } = await occupy();
    await expect(open({ port: port - 2 })).rejects.toMatchObject({
      code: 'port_in_use',
      message: expect.stringContaining(`port ${port} is in use on 127.0.0.1`) as string,
      remedy: expect.stringContaining('--port') as string,
    });
    expect(await listens(`ws://127.0.0.1:${port - 1}`)).toBe(false);
  });

  it('are reached on the loopback by a service that listens everywhere', async () => {
    const { addresses } = await open({ host: '0.0.0.0', reducers: 1 });
    expect(addresses[0].address).toMatch(/^ws:\/\/127\.0\.0\.1:\d+$/);
  });

  it('need ports that exist', async () => {
    const problem = { code: 'invalid_address', remedy: expect.stringContaining('up to 65533') as string };
    await expect(open({ port: 65_534 })).rejects.toMatchObject(problem);
  });

  it('give up their start when asked to stop', async () => {
    await expect(open({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('start again on the same port when their thread ends', async () => {
    const threads: Worker[] = [];
    const start = (data: ReducerData): Worker => {
      const thread = new Worker(script, { workerData: data, execArgv: [] });
      threads.push(thread);
      return thread;
    };
    const reducers = await startReducers({ ...OPTIONS, reducers: 1 }, start);
    closing.push(() => reducers.close());
    const [port] = reducers.ports;
    await threads[0].terminate();
    await expect
      .poll(() => notes, { timeout: 20_000 })
      .toEqual([
        { level: 'warn', text: `the reducer on port ${port} has ended: exit code 1. It starts again in 0.5 s.` },
        { level: 'info', text: `the reducer on port ${port} listens again` },
      ]);
    expect(await listens(reducers.addresses[0].address)).toBe(true);
    await reducers.close();
    expect(threads).toHaveLength(2);
  });

  it('hand a token to their threads in no argument and no environment', async () => {
    const given: ReducerData[] = [];
    const start = (data: ReducerData): Worker => {
      given.push(data);
      return new Worker(script, { workerData: data, execArgv: [] });
    };
    const reducers = await startReducers({ ...OPTIONS, reducers: 1 }, start);
    closing.push(() => reducers.close());
    expect(given).toEqual([{ host: '127.0.0.1', port: 0, places: 100, token: 'secret' }]);
  });
});
