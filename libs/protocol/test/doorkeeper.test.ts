import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createDoorkeeper } from '../src/doorkeeper.js';

const PLACES = 20;
let port = 0;

class FakeSocket extends EventEmitter {
  readonly remotePort = port++;
  readonly remoteAddress: string;
  destroyed = false;
  constructor(remoteAddress: string) {
    super();
    this.remoteAddress = remoteAddress;
  }
  destroy(): this {
    this.destroyed = true;
    this.emit('close');
    return this;
  }
}

const many = (count: number, address: (k: number) => string): FakeSocket[] =>
  Array.from({ length: count }, (_, k) => new FakeSocket(address(k)));

describe('sockets', () => {
  it('of strangers make room for one more, the oldest of the address that has most', () => {
    const doors = createDoorkeeper(PLACES, false);
    const [quiet] = many(1, () => '10.0.0.1');
    const crowd = many(3 * PLACES, () => '10.0.0.9');
    for (const socket of [quiet, ...crowd]) expect(doors.enter(socket as never)).toBe(true);
    expect(quiet.destroyed).toBe(false);
    expect(crowd.at(-1)!.destroyed).toBe(false);
    expect(doors.open).toBe(PLACES / 2);
  });

  it('of those who are admitted stay, and fill all places', () => {
    const doors = createDoorkeeper(PLACES, false);
    const known = many(PLACES, (k) => `10.0.1.${k}`);
    for (const socket of known) {
      expect(doors.enter(socket as never)).toBe(true);
      doors.admit(socket);
    }
    const [late] = many(1, () => '10.0.2.1');
    expect(doors.enter(late as never)).toBe(false);
    expect(known.some(({ destroyed }) => destroyed)).toBe(false);
    known[0].destroy();
    expect(doors.enter(late as never)).toBe(true);
  });

  it('of those with a token find a place however many strangers come from however many addresses', () => {
    const doors = createDoorkeeper(PLACES, false);
    for (let k = 0; k < PLACES - 1; k++) {
      for (const socket of many(30, (i) => `10.1.${k}.${i}`)) doors.enter(socket);
      const [worker] = many(1, () => '10.0.0.1');
      expect(doors.enter(worker as never)).toBe(true);
      expect(worker.destroyed).toBe(false);
      doors.admit(worker);
    }
  });

  it('count for the address that a proxy reports, and until then by themselves', () => {
    const doors = createDoorkeeper(PLACES, true);
    const [first, ...others] = many(PLACES / 2, () => '127.0.0.1');
    for (const socket of [first, ...others]) doors.enter(socket);
    doors.hear(first, '10.0.0.1');
    for (const socket of others) doors.hear(socket, '10.0.0.9');
    const silent = many(2, () => '127.0.0.1');
    for (const socket of silent) doors.enter(socket);
    expect([first, ...silent, ...others].map(({ destroyed }) => destroyed)).toEqual([
      ...[false, false, false, true, true],
      ...others.slice(2).map(() => false),
    ]);
  });

  it('count together if they come from one IPv6 network, which one machine may have', () => {
    const doors = createDoorkeeper(PLACES, false);
    const [quiet] = many(1, () => '2001:db8:1::1');
    for (const socket of [quiet, ...many(3 * PLACES, (k) => `2001:db8:2::${k.toString(16)}`)]) doors.enter(socket);
    expect(quiet.destroyed).toBe(false);
  });
});
