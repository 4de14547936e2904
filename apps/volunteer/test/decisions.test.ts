import { afterEach, describe, expect, it, vi } from 'vitest';
import { obstacle, SIMD_MODULE } from '../src/decisions/capability.js';
import { addCredit, NO_CREDIT, parseCredit } from '../src/decisions/credit.js';
import { COOL, observeWork, type HeatWatch } from '../src/decisions/heat.js';
import { IDLE, isHeldByRun, isRunOver, type StopCode } from '../src/decisions/status.js';
import { readInvitation } from '../src/decisions/link.js';
import { pauseReason, type Circumstances } from '../src/decisions/pause.js';
import { DEFAULT_SETTINGS, parseSettings } from '../src/decisions/settings.js';
import { store } from '../src/page/store.js';

/** One gradient of 100 ms a second, each of `characters`, from `fromMs` on. */
function work(watch: HeatWatch, fromMs: number, seconds: number, characters: number): HeatWatch {
  let next = watch;
  for (let s = 0; s < seconds; s++) next = observeWork(next, { characters, busyMs: 100, threads: 4, nowMs: fromMs + s * 1000 });
  return next;
}

describe('the heat watch', () => {
  it('lowers the share when the same work stays much slower than at its best', () => {
    const warm = work(COOL, 0, 30, 1500);
    expect(warm.factor).toBe(1);
    const shortDip = work(warm, 30_000, 10, 900);
    expect(shortDip.factor).toBe(1);
    const hot = observeSlow(warm, 30_000, 40);
    expect(hot.factor).toBeLessThan(1);
  });

  it('raises the share again when the speed has been back for a while', () => {
    const hot = observeSlow(work(COOL, 0, 30, 1500), 30_000, 40);
    const cooling = work(hot, 70_000, 60, 1500);
    expect(cooling.factor).toBe(hot.factor);
    expect(work(cooling, 130_000, 400, 1500).factor).toBe(1);
  });

  it('does not mistake small leases for a slow machine', () => {
    const mixed = work(work(COOL, 0, 30, 6000), 30_000, 100, 100);
    expect(mixed.factor).toBe(1);
  });

  it('does not mistake fewer threads for a slow machine', () => {
    let watch = work(COOL, 0, 30, 1500);
    for (let s = 30; s < 130; s++) watch = observeWork(watch, { characters: 1500, busyMs: 400, threads: 1, nowMs: s * 1000 });
    expect(watch.factor).toBe(1);
  });

  it('lowers the share in steps, down to a quarter', () => {
    expect(observeSlow(work(COOL, 0, 30, 1500), 30_000, 600).factor).toBe(0.25);
  });
});

/** The same work at half the speed. */
function observeSlow(watch: HeatWatch, fromMs: number, seconds: number): HeatWatch {
  let next = watch;
  for (let s = 0; s < seconds; s++)
    next = observeWork(next, { characters: 1500, busyMs: 200, threads: 4, nowMs: fromMs + s * 1000 });
  return next;
}

describe('the reason to pause', () => {
  const calm: Circumstances = {
    ...{ pausedByPerson: false, hidden: false, pauseWhenHidden: true, battery: { charging: true } },
    ...{ pauseOnBattery: true, trafficBytes: 99, capBytes: 100 },
  };
  it.each<[string, Partial<Circumstances>, string | undefined]>([
    ['everything is fine', {}, undefined],
    ['the volunteer paused', { pausedByPerson: true }, 'person'],
    ['the data limit is reached', { trafficBytes: 100 }, 'cap'],
    ['there is no data limit', { trafficBytes: 1e12, capBytes: 0 }, undefined],
    ['the device runs on battery', { battery: { charging: false } }, 'battery'],
    ['the volunteer allows battery', { battery: { charging: false }, pauseOnBattery: false }, undefined],
    ['the battery is unknown', { battery: undefined }, undefined],
    ['the tab is hidden', { hidden: true }, 'hidden'],
    ['the volunteer allows hidden tabs', { hidden: true, pauseWhenHidden: false }, undefined],
    ['the volunteer paused and other reasons apply too', { pausedByPerson: true, hidden: true, trafficBytes: 500 }, 'person'],
  ])('when %s', (_, change, expected) => {
    expect(pauseReason({ ...calm, ...change })).toBe(expected);
  });
});

describe('the end of a session', () => {
  it.each<[StopCode, boolean]>([
    ['completed', true],
    ['stopped', true],
    ['diverged', true],
    ['dismissed', false],
    [undefined, false],
  ])('with code %j is the end of the run: %j', (code, expected) => {
    expect(isRunOver({ ...IDLE, phase: { at: 'over', code, reason: '' } })).toBe(expected);
    expect(isRunOver(IDLE)).toBe(false);
  });
});

describe('a worker that waits for a paused run', () => {
  const paused = { phase: 'paused', round: 7 } as const;
  it.each([
    ['has computed the round at which the run is paused', 'computing', 7, true],
    ['has computed nothing yet', 'ready', undefined, true],
    ['computes a later round, so the run was resumed', 'computing', 8, false],
    ['is still connecting', 'connecting', 7, false],
  ] as const)('%s', (_, at, round, expected) => {
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, paused)).toBe(expected);
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, { ...paused, phase: 'waiting' })).toBe(false);
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, undefined)).toBe(false);
  });
});

describe('what is stored on the device', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('adds up in the page while storage is blocked', () => {
    const blocked = (): never => {
      throw new DOMException('The operation is insecure.', 'SecurityError');
    };
    vi.stubGlobal('localStorage', { getItem: blocked, setItem: blocked });
    store.addCredit(5, 1);
    expect(store.addCredit(7, 2)).toEqual({ characters: 12, rounds: 3 });
    expect(store.resetCredit()).toEqual(NO_CREDIT);
    expect(store.addCredit(1, 1)).toEqual({ characters: 1, rounds: 1 });
  });

  it.each([null, '', '{', '[]', 'null', '{"characters":-1,"rounds":"x"}', '{"characters":1e400}'])(
    'credit stored as %j is no credit, and no failure',
    (stored) => expect(parseCredit(stored)).toEqual(NO_CREDIT),
  );

  it('credit adds up', () => {
    expect(addCredit(parseCredit('{"characters":5,"rounds":1}'), 7, 2)).toEqual({ characters: 12, rounds: 3 });
  });

  it.each([
    null,
    '3',
    '{"share":"all","name":7,"limitMb":-1,"rateMbit":3}',
    '{"capMb":0}',
    '{"share":5}',
    '{"directLinks":1}',
    'null',
  ])('settings stored as %j are the default ones', (stored) => {
    expect(parseSettings(stored)).toEqual(DEFAULT_SETTINGS);
  });

  it('settings are read as they were stored', () => {
    const settings = {
      ...DEFAULT_SETTINGS,
      name: 'Ada',
      share: 35,
      limitMb: 500,
      rateMbit: 5,
      pauseWhenHidden: true,
      directLinks: true,
    };
    expect(parseSettings(JSON.stringify(settings))).toEqual(settings);
    expect(parseSettings(JSON.stringify({ ...settings, name: 'x'.repeat(99) })).name).toHaveLength(40);
    expect(parseSettings('{"limitMb":0}').limitMb).toBe(0);
    // As older pages stored it.
    expect(parseSettings('{"capMb":250}').limitMb).toBe(250);
  });
});

describe('the invitation link', () => {
  const at = (hash: string, protocol = 'http:') => readInvitation(`${protocol}//lab.example:7070/join/${hash}`);

  it('takes the coordinator from the page address and the token from the fragment', () => {
    expect(at('#token=a%2Bb')).toEqual({
      token: 'a+b',
      address: 'ws://lab.example:7070/control',
      base: 'http://lab.example:7070',
      only: undefined,
    });
    expect(at('#token=t', 'https:')).toMatchObject({ address: 'wss://lab.example:7070/control' });
  });

  it.each(['join/', 'join/index.html'])('takes the path of a proxy from the page address: %s', (page) => {
    expect(readInvitation(`https://lab.example/a/troupe/${page}#token=t`)).toMatchObject({
      address: 'wss://lab.example/a/troupe/control',
      base: 'https://lab.example/a/troupe',
    });
  });

  it.each(['', '#', '#token', '#token=', '#else=1'])('%j has no token', (hash) => expect(at(hash).token).toBe(''));

  it('tolerates a bad escape, and leads to no other coordinator', () => {
    expect(at('#token=%E0%A4%A').token).toBe('%E0%A4%A');
    expect(at('#token=t&coordinator=evil.example').address).toBe('ws://lab.example:7070/control');
    expect(at('#token=t&engine=wasm').only).toBe('wasm');
    expect(at('#engine=abacus').only).toBeUndefined();
  });
});

describe('whether a browser can take part', () => {
  const able = { webAssembly: true, simd: true, workers: true, webSockets: true };
  it.each([
    [able, 'token', undefined],
    [able, '', 'no_token'],
    [{ ...able, simd: false }, 'token', 'no_wasm'],
    [{ ...able, webSockets: false }, 'token', 'no_workers'],
    [{ ...able, workers: false, simd: false }, '', 'no_workers'],
  ])('%j with token %j: %s', (host, token, expected) => expect(obstacle(host, token)).toBe(expected));

  it('depends on a module with SIMD that is valid here, and is not with one wrong byte', () => {
    expect(WebAssembly.validate(SIMD_MODULE)).toBe(true);
    expect(WebAssembly.validate(SIMD_MODULE.with(-2, 0))).toBe(false);
  });
});
