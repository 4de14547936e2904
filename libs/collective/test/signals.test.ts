import { LIMITS } from '@troupe/protocol';
import type { Signal } from '@troupe/transport/webrtc';
import { describe, expect, it } from 'vitest';
import { Signals } from '../src/star/signals.js';

const restart = (generation: number): Signal => ({ type: 'restart', generation });
const never = new AbortController().signal;

/** Both ends, as if the service passed everything on. */
function pair() {
  const near: Signals = new Signals((signal) => void far.take({ ...signal, peer: 'near' }));
  const far: Signals = new Signals((signal) => void near.take({ ...signal, peer: 'far' }));
  return { near, far };
}

describe('the signals of a link', () => {
  it('arrive in order, whether or not someone waits', async () => {
    const { near, far } = pair();
    const [one, other] = [near.open('far', 3), far.open('near', 3)];
    const waiting = other.receive(never);
    for (const generation of [1, 2]) one.send(restart(generation));
    expect(await waiting).toEqual(restart(1));
    expect(await other.receive(never)).toEqual(restart(2));
  });

  it('are those of this link: earlier ones are dropped, and those of a later one are not known yet', async () => {
    const { near } = pair();
    const link = near.open('far', 3);
    expect(near.take({ peer: 'far', link: 2, signal: '1' })).toBe(true);
    expect(near.take({ peer: 'far', link: 4, signal: '1' })).toBe(false);
    expect(near.take({ peer: 'elsewhere', link: 3, signal: '1' })).toBe(false);
    expect(near.take({ peer: 'far', link: 3, signal: '"own"' })).toBe(true);
    expect(await link.receive(never)).toBe('own');
  });

  it('end with a later link of the same worker, with the wait, and with all links', async () => {
    const { near } = pair();
    const lost = { code: 'lost' };
    const first = near.open('far', 1);
    const second = near.open('far', 2);
    await expect(first.receive(never)).rejects.toMatchObject(lost);
    expect(() => first.send(restart(1))).toThrow('has ended');
    first.end();
    expect(near.take({ peer: 'far', link: 2, signal: '5' })).toBe(true);
    expect(await second.receive(never)).toBe(5);
    const given = new AbortController();
    const waiting = second.receive(given.signal);
    given.abort();
    await expect(waiting).rejects.toMatchObject(lost);
    const last = second.receive(never);
    near.end();
    await expect(last).rejects.toMatchObject(lost);
  });

  it('are kept up to the number that a link needs; one that sends more is not heard any longer', async () => {
    const { near } = pair();
    const link = near.open('far', 0);
    for (let i = 0; i < LIMITS.signalsPerLink; i++) near.take({ peer: 'far', link: 0, signal: String(i) });
    expect(await link.receive(never)).toBe(0);
    for (let i = 0; i < 2; i++) near.take({ peer: 'far', link: 0, signal: '1' });
    await expect(link.receive(never)).rejects.toMatchObject({ code: 'lost' });
    near.take({ peer: 'far', link: 0, signal: '1' });
    await expect(link.receive(never)).rejects.toMatchObject({ code: 'lost' });
  });

  it('need not be JSON: then there is none', async () => {
    const { near } = pair();
    const link = near.open('far', 0);
    near.take({ peer: 'far', link: 0, signal: '{' });
    expect(await link.receive(never)).toBeUndefined();
  });
});
