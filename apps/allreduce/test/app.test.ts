import { wholeUpdate } from '@troupe/collective';
import { createStarCollective } from '@troupe/collective/star';
import { connectWebSocket } from '@troupe/transport/websocket';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { runAllreduce, USAGE } from '../src/app.js';

/** Starts the app and waits for its first line. */
async function start(args: string[], env: NodeJS.ProcessEnv = {}, most?: number) {
  const stop = new AbortController();
  const lines: string[] = [];
  const errors: string[] = [];
  let exited: Promise<number> | undefined;
  const first = new Promise<string>((resolve) => {
    const out = (line: string) => resolve(lines[lines.push(line) - 1]);
    exited = runAllreduce({ args, env, out, err: (line) => void errors.push(line), signal: stop.signal }, most);
    void exited.then(() => resolve(''));
  });
  return { stop, lines, errors, exited: exited!, first: await first };
}

const RUN = { runId: 'r', codec: 'fp32', tensorSizes: [3], stateFloats: 1 } as const;
const star = createStarCollective({ connect: (address, signal) => connectWebSocket(address, { signal }) });
const soon = () => AbortSignal.timeout(5_000);

describe('troupe allreduce', () => {
  it('prints its address and the command to type, reduces over real sockets, and stops cleanly', async () => {
    const app = await start(['--port', '0', '--token', 'secret']);
    const address = /listening on (ws:\/\/127\.0\.0\.1:\d+)/.exec(app.first)?.[1] ?? '';
    expect(app.first).toContain(`troupe train --allreduce ${address}`);
    const host = await star.host({
      address,
      ...RUN,
      owner: 'it',
      streams: 2,
      window: 4,
      token: 'secret',
      signal: soon(),
    });
    host.admit('w', 'ticket');
    const member = await star.join({ ...RUN, seed: 1, address, workerId: 'w', ticket: 'ticket', signal: soon() });
    host.openRound({ round: 0, learningRate: 1, clip: 0, parametersDigest: '0000000000000000' });
    host.grant({ round: 0, leaseId: 'l', workerId: 'w', streams: [0, 1] });
    const numbers = {
      round: 0,
      leaseId: 'l',
      streams: [0, 1],
      tokens: 8,
      lossSum: 1,
      computeMs: 1,
      parametersDigest: '0000000000000000',
    };
    member.contribute({ ...numbers, gradient: Float32Array.of(8, -16, 24), endStates: new Float32Array(2) });
    expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
    const update = await member.receive(soon());
    if (update.kind !== 'update') throw new Error(update.kind);
    expect((await wholeUpdate(update)).parts).toEqual([{ values: Float32Array.of(1, -2, 3) }]);
    app.stop.abort();
    expect(await app.exited).toBe(0);
    await expect(member.receive(soon())).rejects.toMatchObject({ code: 'closed' });
    for (const kind of ['counted', 'update']) expect(await host.receive(soon())).toMatchObject({ kind });
    await expect(host.receive(soon())).rejects.toMatchObject({ code: 'closed' });
  });

  it('sums in threads with --reducers, to which workers connect as well', async () => {
    const app = await start(['--port', '0', '--token', 'secret', '--reducers', '2', '--json']);
    const { address, reducerPorts } = JSON.parse(app.first) as { address: string; reducerPorts: number[] };
    expect(reducerPorts).toHaveLength(2);
    const dialled: string[] = [];
    const watched = createStarCollective({
      connect(to, signal) {
        dialled.push(to);
        return connectWebSocket(to, { signal });
      },
    });
    const run = { ...RUN, tensorSizes: [3, 2] };
    const host = await star.host({ ...run, address, owner: 'it', streams: 1, window: 4, token: 'secret', signal: soon() });
    await expect.poll(() => app.lines.filter((line) => line.includes('is here')).length).toBe(2);
    host.admit('w', 'ticket');
    const member = await watched.join({ ...run, seed: 1, address, workerId: 'w', ticket: 'ticket', signal: soon() });
    const order = { learningRate: 1, clip: 0, parametersDigest: '0000000000000000' };
    const contribution = { streams: [0], tokens: 4, lossSum: 1, computeMs: 1, parametersDigest: order.parametersDigest };
    // The threads sum from the first round on, and the worker has its links to them in the next one.
    for (const round of [0, 1]) {
      host.openRound({ round, ...order });
      const lease = { round, leaseId: `l${round}` };
      host.grant({ ...lease, workerId: 'w', streams: [0] });
      member.contribute({
        ...contribution,
        ...lease,
        gradient: Float32Array.of(8, -16, 24, 4, 0),
        endStates: Float32Array.of(1),
      });
      expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
      const update = await member.receive(soon());
      if (update.kind !== 'update') throw new Error(update.kind);
      const { parts } = await wholeUpdate(update);
      expect(parts).toEqual([{ values: Float32Array.of(2, -4, 6) }, { values: Float32Array.of(1, 0) }]);
      await expect.poll(() => dialled).toEqual([address, ...reducerPorts.map((port) => `ws://127.0.0.1:${port}`)]);
    }
    app.stop.abort();
    expect(await app.exited).toBe(0);
    for (const port of reducerPorts) await expect(connectWebSocket(`ws://127.0.0.1:${port}`)).rejects.toThrow(/nothing listens/);
  });

  it('reads its secret from TROUPE_ALLREDUCE_TOKEN and refuses a coordinator with another one', async () => {
    const app = await start(['--port', '0', '--json'], { TROUPE_ALLREDUCE_TOKEN: 'secret', TROUPE_TOKEN: 'guess' });
    const { address, ...rest } = JSON.parse(app.first) as { address: string };
    expect(rest).not.toHaveProperty('token');
    const hosting = star.host({
      address,
      ...RUN,
      owner: 'it',
      streams: 2,
      window: 4,
      token: 'guess',
      signal: soon(),
    });
    await expect(hosting).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining('wrong_token') });
    app.stop.abort();
    expect(await app.exited).toBe(0);
    expect(app.lines.map((line) => (JSON.parse(line) as { event: string }).event)).toContain('note');
  });

  it('says what to do when the port is in use, and exits with code 1', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const app = await start(['--port', String(port), '--token', 't']);
    expect(await app.exited).toBe(1);
    expect(app.errors[0]).toMatch(new RegExp(`port ${port} is in use[^]*--port`));
    taken.close();
  });

  it('names the port that a reducer cannot have, and exits with code 1', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    const app = await start(['--port', String(port - 1), '--token', 't', '--reducers', '1']);
    expect(await app.exited).toBe(1);
    expect(app.errors[0]).toMatch(new RegExp(`port ${port} is in use[^]*reducer[^]*--port`));
    taken.close();
  });

  it.each([
    [['--reducers', '65', '--token', 't'], '--reducers 65'],
    [['--bogus', '--token', 't'], '--bogus'],
    [['--port', '70000', '--token', 't'], '70000'],
    [['--port', 'x', '--token', 't'], 'x'],
    [['--token', 't'.repeat(300)], 'shorter'],
    [['--host', '0.0.0.0', '--token', 'eleven-char'], 'fewer than 12'],
  ])('exits with code 2 and the usage for %j', async (args, named) => {
    const app = await start(args);
    expect(await app.exited).toBe(2);
    expect(app.errors[0]).toContain(named);
    expect(app.errors[0]).toContain(USAGE);
  });

  it('makes up a secret and prints the command for the coordinator with it', async () => {
    const app = await start(['--port', '0']);
    const [, secret, address] = /TROUPE_ALLREDUCE_TOKEN=(\S+) troupe train --allreduce (\S+)/.exec(app.first) ?? [];
    expect(secret.length).toBeGreaterThanOrEqual(12);
    const host = await star.host({ address, ...RUN, owner: 'it', streams: 1, window: 4, token: secret, signal: soon() });
    host.close('done');
    app.stop.abort();
    expect(await app.exited).toBe(0);
  });

  it('refuses the token of the run as its secret, because every worker could then stop the run', async () => {
    const app = await start(['--port', '0'], { TROUPE_TOKEN: 'known-to-workers', TROUPE_ALLREDUCE_TOKEN: 'known-to-workers' });
    expect(await app.exited).toBe(2);
    expect(app.errors[0]).toMatch(/equals TROUPE_TOKEN[^]*Give another in TROUPE_ALLREDUCE_TOKEN/);
  });

  it('prints its usage with --help', async () => {
    const app = await start(['--help']);
    expect(await app.exited).toBe(0);
    expect(app.first).toBe(USAGE);
  });
});

describe('strangers at the ports', () => {
  const PLACES = 20;
  /** Opens sockets one after the other, and says nothing over them, or this. */
  async function crowd(port: number, count: number, text = ''): Promise<Socket[]> {
    const sockets: Socket[] = [];
    for (let k = 0; k < count; k++) {
      const socket = connect(port, '127.0.0.1')
        .on('error', () => undefined)
        .resume();
      sockets.push(socket);
      await new Promise((resolve) => socket.once('connect', resolve));
      if (text !== '') socket.write(text);
    }
    return sockets;
  }
  const open = (sockets: readonly Socket[]): number => sockets.filter(({ readyState }) => readyState === 'open').length;
  const request = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

  it.each([
    ['who are silent', ''],
    ['who begin a request', 'GET / HTTP/1.1\r\n'],
    ['who make requests and stay', request],
  ])(
    '%s make room for each other, at the port of each reducer too, and neither coordinator nor workers notice',
    async (_, text) => {
      const app = await start(['--port', '0', '--token', 'secret', '--reducers', '1', '--json'], {}, PLACES);
      const { address, reducerPorts } = JSON.parse(app.first) as { address: string; reducerPorts: number[] };
      const ports = [Number(new URL(address).port), ...reducerPorts];
      const crowds = await Promise.all(ports.map((port) => crowd(port, 3 * PLACES, text)));
      for (const sockets of crowds) await expect.poll(() => open(sockets)).toBeLessThanOrEqual(PLACES / 2);
      // The newest stay.
      if (text !== request) expect(crowds.map((sockets) => sockets.at(-1)!.readyState)).toEqual(['open', 'open']);
      const run = { ...RUN, address };
      const host = await star.host({ ...run, owner: 'it', streams: 1, window: 4, token: 'secret', signal: soon() });
      host.admit('w', 'ticket');
      const member = await star.join({ ...run, seed: 1, workerId: 'w', ticket: 'ticket', signal: soon() });
      const late = await Promise.all(ports.map((port) => crowd(port, 3 * PLACES, text)));
      const order = { learningRate: 1, clip: 0, parametersDigest: '0000000000000000' };
      for (const round of [0, 1, 2]) {
        host.openRound({ round, ...order });
        host.grant({ round, leaseId: `l${round}`, workerId: 'w', streams: [0] });
        const numbers = { streams: [0], tokens: 4, lossSum: 1, computeMs: 1, parametersDigest: order.parametersDigest };
        const result = { gradient: Float32Array.of(8, -16, 24), endStates: Float32Array.of(1) };
        member.contribute({ ...numbers, round, leaseId: `l${round}`, ...result });
        expect(await member.receive(soon())).toMatchObject({ kind: 'result', result: 'counted' });
        const update = await member.receive(soon());
        if (update.kind !== 'update') throw new Error(update.kind);
        expect((await wholeUpdate(update)).parts).toEqual([{ values: Float32Array.of(2, -4, 6) }]);
      }
      for (const socket of [...crowds, ...late].flat()) socket.destroy();
      app.stop.abort();
      expect(await app.exited).toBe(0);
    },
  );

  it('who guess fill no log', async () => {
    const app = await start(['--port', '0', '--token', 'secret', '--json']);
    const { address } = JSON.parse(app.first) as { address: string };
    // Frames that are none of Troupe's.
    for (let k = 0; k < 400; k++) {
      const link = await connectWebSocket(address);
      link.send(Uint8Array.of(1, 2, 3));
      await link.closed;
    }
    expect(app.lines.filter((line) => line.includes('is refused'))).toHaveLength(300);
    app.stop.abort();
    await app.exited;
  });
});
