import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Connection } from '../src/index.js';

/** Two open ends of a link of the transport under test. */
export interface Harness {
  readonly near: Connection;
  readonly far: Connection;
  readonly frameBytes: number;
  /** Cuts the link silently. */
  breakLink(): void;
  dispose(): Promise<void>;
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const refused = (code: string) => expect.objectContaining({ name: 'TransportError', code, remedy: expect.stringMatching(/\w/) });

/** What every Connection promises; see src/connection.ts. */
export function describeTransport(name: string, open: () => Promise<Harness>): void {
  describe(`${name} keeps the promises of a Connection`, () => {
    let link: Harness;
    beforeEach(async () => {
      link = await open();
    });
    afterEach(() => link.dispose());

    describeFrames(() => link);
    describeWaiting(() => link);
    describeEnds(() => link);
  });
}

function describeFrames(link: () => Harness): void {
  it('delivers frames whole and in order, both ways at once', async () => {
    const { near, far } = link();
    for (let i = 0; i < 50; i++) {
      near.send(bytes(i, i + 1));
      far.send(bytes(100 + i));
    }
    for (let i = 0; i < 50; i++) {
      expect(await far.receive()).toEqual(bytes(i, i + 1));
      expect(await near.receive()).toEqual(bytes(100 + i));
    }
  });

  it('delivers frames that arrived before a receive', async () => {
    const { near, far } = link();
    near.send(bytes(1));
    near.send(bytes(2));
    far.send(bytes(9));
    // The answer shows that both sides had time.
    expect(await near.receive()).toEqual(bytes(9));
    expect([await far.receive(), await far.receive()]).toEqual([bytes(1), bytes(2)]);
  });

  it('does not deliver within the call to send', () => {
    const { near, far } = link();
    let arrived = false;
    const waiting = far.receive().then(() => (arrived = true));
    near.send(bytes(1));
    expect(arrived).toBe(false);
    return waiting;
  });

  it('carries empty frames and frames of exactly the limit', async () => {
    const { near, far, frameBytes } = link();
    const large = new Uint8Array(frameBytes).map((_, i) => i * 31);
    near.send(new Uint8Array(0));
    near.send(large.slice());
    expect((await far.receive()).byteLength).toBe(0);
    const received = await far.receive();
    expect(Buffer.compare(received, large)).toBe(0);
  });

  it('hands out plain Uint8Arrays, of which slice() copies', async () => {
    const { near, far } = link();
    near.send(bytes(1, 2, 3));
    const frame = await far.receive();
    expect(frame.constructor).toBe(Uint8Array);
  });

  it('carries many small frames', async () => {
    const { near, far } = link();
    for (let i = 0; i < 5000; i++) near.send(bytes(i & 255, i >> 8));
    for (let i = 0; i < 5000; i++) {
      const [low, high] = await far.receive();
      if (low + 256 * high !== i) expect.fail(`frame ${i} came as ${low + 256 * high}`);
    }
  });

  it('rejects a frame over the limit and stays usable', async () => {
    const { near, far, frameBytes } = link();
    expect(() => near.send(new Uint8Array(frameBytes + 1))).toThrow(refused('frame_too_large'));
    near.send(bytes(7));
    expect(await far.receive()).toEqual(bytes(7));
  });
}

function describeWaiting(link: () => Harness): void {
  it('lets only one receive wait', async () => {
    const { near, far } = link();
    const first = far.receive();
    await expect(far.receive()).rejects.toEqual(refused('busy'));
    near.send(bytes(5));
    expect(await first).toEqual(bytes(5));
  });

  it('an aborted receive rejects and takes no frame', async () => {
    const { near, far } = link();
    const controller = new AbortController();
    const waiting = far.receive(controller.signal);
    controller.abort();
    await expect(waiting).rejects.toEqual(refused('aborted'));
    await expect(far.receive(controller.signal)).rejects.toEqual(refused('aborted'));
    near.send(bytes(3));
    expect(await far.receive()).toEqual(bytes(3));
  });

  it('a signal aborted after its receive was served changes nothing', async () => {
    const { near, far } = link();
    const controller = new AbortController();
    const first = far.receive(controller.signal);
    near.send(bytes(1));
    expect(await first).toEqual(bytes(1));
    const second = far.receive();
    controller.abort();
    near.send(bytes(2));
    expect(await second).toEqual(bytes(2));
  });

  it('drained resolves once what was sent has left, and at once when nothing waits', async () => {
    const { near, far } = link();
    await near.drained(0);
    for (let i = 0; i < 20; i++) near.send(new Uint8Array(link().frameBytes));
    expect(near.bufferedBytes).toBeGreaterThan(0);
    await near.drained(0);
    expect(near.bufferedBytes).toBe(0);
    for (let i = 0; i < 20; i++) await far.receive();
  });

  it('an aborted drained rejects', async () => {
    const { near } = link();
    const controller = new AbortController();
    for (let i = 0; i < 20; i++) near.send(new Uint8Array(link().frameBytes));
    const waiting = near.drained(0, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toEqual(refused('aborted'));
  });
}

function describeEnds(link: () => Harness): void {
  it('delivers what was sent before close, then rejects with closed', async () => {
    const { near, far, frameBytes } = link();
    near.send(bytes(1));
    near.send(new Uint8Array(frameBytes));
    near.close('done');
    expect(await far.receive()).toEqual(bytes(1));
    expect((await far.receive()).byteLength).toBe(frameBytes);
    await expect(far.receive()).rejects.toEqual(refused('closed'));
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'done' });
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'done' });
  });

  it('close rejects a waiting receive and drained on both sides, and later sends', async () => {
    const { near, far } = link();
    const waiting = [near.receive(), far.receive()].map((promise) => expect(promise).rejects.toEqual(refused('closed')));
    near.close('over');
    await Promise.all(waiting);
    await far.closed;
    for (const end of [near, far]) {
      expect(() => end.send(bytes(1))).toThrow(refused('closed'));
      await expect(end.drained(0)).rejects.toEqual(refused('closed'));
      await expect(end.receive()).rejects.toEqual(refused('closed'));
    }
  });

  it('close may be repeated, from both sides; the first reason stays', async () => {
    const { near, far } = link();
    near.close('first');
    near.close('second');
    expect(await far.closed).toEqual({ kind: 'clean', reason: 'first' });
    far.close('third');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'first' });
  });

  it('a broken link ends as lost, with the frames that came before still there', async () => {
    const { near, far } = link();
    near.send(bytes(8));
    far.send(bytes(9));
    expect(await near.receive()).toEqual(bytes(9));
    const waiting = expect(near.receive()).rejects.toEqual(refused('lost'));
    link().breakLink();
    await waiting;
    expect(await near.closed).toMatchObject({ kind: 'lost' });
    expect(await far.closed).toMatchObject({ kind: 'lost' });
    expect(() => near.send(bytes(1))).toThrow(refused('lost'));
    expect(await far.receive()).toEqual(bytes(8));
    await expect(far.receive()).rejects.toEqual(refused('lost'));
  });
}
