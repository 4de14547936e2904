import { afterEach, describe, expect, it, vi } from 'vitest';
import { obstacle, SIMD_MODULE } from '../src/decisions/capability.js';
import { addCredit, NO_CREDIT, parseCredit } from '../src/decisions/credit.js';
import { COOL, observeWork, type HeatWatch } from '../src/decisions/heat.js';
import { IDLE, isHeldByRun, isRunOver, type StopCode } from '../src/decisions/status.js';
import { readInvitation } from '../src/decisions/link.js';
import { pauseReason, type Circumstances } from '../src/decisions/pause.js';
import { planEffort, restMs } from '../src/decisions/share.js';
import { DEFAULT_TERMS, parseTerms } from '../src/decisions/terms.js';
import { estimateTraffic } from '../src/decisions/traffic.js';
import { store } from '../src/page/store.js';

describe('a share of the machine', () => {
  it.each([
    [1, 8, 8, 1],
    [0.5, 8, 4, 1],
    [0.3, 8, 3, 0.8],
    [0.7, 10, 7, 1],
    [0.5, 1, 1, 0.5],
    [0.1, 2, 1, 0.2],
  ])('%d of %d cores is %d threads, busy %d of the time', (share, cores, threads, duty) => {
    const effort = planEffort(share, cores, true);
    expect(effort.threads).toBe(threads);
    expect(effort.duty).toBeCloseTo(duty);
  });

  it('is one thread, resting, where the engine has no more', () => {
    expect(planEffort(0.5, 1, false)).toEqual({ threads: 1, duty: 0.5 });
    expect(planEffort(0.5, 8, false)).toEqual({ threads: 1, duty: 1 });
  });

  it('never falls to nothing nor exceeds the machine', () => {
    expect(planEffort(0, 4, true).duty).toBeGreaterThan(0);
    expect(planEffort(9, 4, true)).toEqual({ threads: 4, duty: 1 });
  });

  it('rests in proportion to what was computed, but not for ever', () => {
    expect(restMs(100, 1)).toBe(0);
    expect(restMs(100, 0.25)).toBeCloseTo(300);
    expect(restMs(600_000, 0.1)).toBe(60_000);
  });
});

/** So many gradients of 100 ms of characters each, one a second from `fromMs`. */
function work(watch: HeatWatch, fromMs: number, seconds: number, characters: number): HeatWatch {
  let next = watch;
  for (let s = 0; s < seconds; s++) next = observeWork(next, { characters, busyMs: 100, threads: 4, nowMs: fromMs + s * 1000 });
  return next;
}

describe('the watch for heat', () => {
  it('asks for less when the same work stays markedly slower than at its best, and says when', () => {
    const warm = work(COOL, 0, 30, 1500);
    expect(warm.factor).toBe(1);
    const shortDip = work(warm, 30_000, 10, 900);
    expect(shortDip.factor).toBe(1);
    // The size of the work stays in one class: 1025 and 1500 characters.
    const hot = observeSlow(warm, 30_000, 40);
    expect(hot.factor).toBeLessThan(1);
  });

  it('gives it back when the speed is back for a while', () => {
    const hot = observeSlow(work(COOL, 0, 30, 1500), 30_000, 40);
    const cooling = work(hot, 70_000, 60, 1500);
    expect(cooling.factor).toBe(hot.factor);
    expect(work(cooling, 130_000, 400, 1500).factor).toBe(1);
  });

  it('does not take small leases for a slow machine', () => {
    const mixed = work(work(COOL, 0, 30, 6000), 30_000, 100, 100);
    expect(mixed.factor).toBe(1);
  });

  it('does not take fewer threads for a slow machine', () => {
    let watch = work(COOL, 0, 30, 1500);
    for (let s = 30; s < 130; s++) watch = observeWork(watch, { characters: 1500, busyMs: 400, threads: 1, nowMs: s * 1000 });
    expect(watch.factor).toBe(1);
  });

  it('keeps asking for less in steps, down to a quarter', () => {
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

describe('pausing', () => {
  const calm: Circumstances = {
    ...{ pausedByPerson: false, hidden: false, pauseWhenHidden: true, battery: { charging: true } },
    ...{ pauseOnBattery: true, trafficBytes: 99, capBytes: 100 },
  };
  it.each<[string, Partial<Circumstances>, string | undefined]>([
    ['nothing is the matter', {}, undefined],
    ['the person says so', { pausedByPerson: true }, 'person'],
    ['the traffic cap is reached', { trafficBytes: 100 }, 'cap'],
    ['there is no cap', { trafficBytes: 1e12, capBytes: 0 }, undefined],
    ['it runs on battery', { battery: { charging: false } }, 'battery'],
    ['battery is fine with the person', { battery: { charging: false }, pauseOnBattery: false }, undefined],
    ['nothing is known of a battery', { battery: undefined }, undefined],
    ['the tab is hidden', { hidden: true }, 'hidden'],
    ['hidden is fine with the person', { hidden: true, pauseWhenHidden: false }, undefined],
    ['the person comes before all else', { pausedByPerson: true, hidden: true, trafficBytes: 500 }, 'person'],
  ])('when %s', (_, change, expected) => {
    expect(pauseReason({ ...calm, ...change })).toBe(expected);
  });
});

it('traffic is a gradient and an update a round, and a snapshot at the start', () => {
  const estimate = estimateTraffic({ parameters: 1_000_000, elementBytes: 2, roundsPerHour: 1000 });
  expect(estimate.roundBytes).toBeCloseTo(4.2e6, -4);
  expect(estimate.hourBytes).toBeCloseTo(4.2e9, -7);
  expect(estimate.joinBytes).toBe(12_000_000);
  expect(estimateTraffic({ parameters: 10, elementBytes: 4, roundsPerHour: undefined }).hourBytes).toBeUndefined();
});

describe('the end', () => {
  it.each<[StopCode, boolean]>([
    ['completed', true],
    ['stopped', true],
    ['diverged', true],
    ['dismissed', false],
    [undefined, false],
  ])('for the reason %j is the end of the run: %j', (code, expected) => {
    expect(isRunOver({ ...IDLE, phase: { at: 'over', code, reason: '' } })).toBe(expected);
    expect(isRunOver(IDLE)).toBe(false);
  });
});

describe('who waits for a paused run', () => {
  const paused = { phase: 'paused', round: 7 } as const;
  it.each([
    ['computed the round it stands at', 'computing', 7, true],
    ['has computed nothing yet', 'ready', undefined, true],
    ['computes a later round: the run has gone on since', 'computing', 8, false],
    ['is still connecting', 'connecting', 7, false],
  ] as const)('%s', (_, at, round, expected) => {
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, paused)).toBe(expected);
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, { ...paused, phase: 'waiting' })).toBe(false);
    expect(isHeldByRun({ ...IDLE, phase: { at }, round }, undefined)).toBe(false);
  });
});

describe('what is kept on the device', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('adds up in the page where storage is blocked', () => {
    const blocked = (): never => {
      throw new DOMException('The operation is insecure.', 'SecurityError');
    };
    vi.stubGlobal('localStorage', { getItem: blocked, setItem: blocked });
    store.earn(5, 1);
    expect(store.earn(7, 2)).toEqual({ characters: 12, rounds: 3 });
    expect(store.forgetCredit()).toEqual(NO_CREDIT);
    expect(store.earn(1, 1)).toEqual({ characters: 1, rounds: 1 });
  });

  it.each([null, '', '{', '[]', 'null', '{"characters":-1,"rounds":"x"}', '{"characters":1e400}'])(
    'credit of %j is none rather than a failure',
    (stored) => expect(parseCredit(stored)).toEqual(NO_CREDIT),
  );

  it('credit adds up', () => {
    expect(addCredit(parseCredit('{"characters":5,"rounds":1}'), 7, 2)).toEqual({ characters: 12, rounds: 3 });
  });

  it.each([null, '3', '{"share":"all","name":7,"capMb":-1}', '{"share":5}', 'null'])(
    'terms of %j are the usual ones',
    (stored) => {
      expect(parseTerms(stored)).toEqual(DEFAULT_TERMS);
    },
  );

  it('terms come back as they were given', () => {
    const terms = { ...DEFAULT_TERMS, name: 'Ada', share: 35, capMb: 500, pauseWhenHidden: true };
    expect(parseTerms(JSON.stringify(terms))).toEqual(terms);
    expect(parseTerms(JSON.stringify({ ...terms, name: 'x'.repeat(99) })).name).toHaveLength(40);
  });
});

describe('the link', () => {
  const at = (hash: string, protocol = 'http:') => readInvitation({ protocol, host: 'lab.example:7070', hash });

  it('names the coordinator by where the page came from, and holds the token behind the #', () => {
    expect(at('#token=a%2Bb')).toEqual({
      token: 'a+b',
      address: 'ws://lab.example:7070/control',
      origin: 'http://lab.example:7070',
      only: undefined,
    });
    expect(at('#token=t', 'https:')).toMatchObject({ address: 'wss://lab.example:7070/control' });
  });

  it.each(['', '#', '#token', '#token=', '#else=1'])('%j has no token', (hash) => expect(at(hash).token).toBe(''));

  it('survives what is no good escape, and leads nowhere else', () => {
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

  it('is told by a module with SIMD that is valid here, and would not be if a byte were off', () => {
    expect(WebAssembly.validate(SIMD_MODULE)).toBe(true);
    expect(WebAssembly.validate(SIMD_MODULE.with(-2, 0))).toBe(false);
  });
});
