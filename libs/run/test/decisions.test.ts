import type { Decision, Lent } from '@troupe/scheduler';
import { describe, expect, it } from 'vitest';
import { DECISION_KINDS, decisionText, waitingText } from '../src/index.js';

const lent: Lent = { streams: 4, workers: 1, uncovered: 0, pausedBy: [] };

const EXAMPLES: readonly (readonly [Decision, string])[] = [
  [{ kind: 'paused', by: 'admin' }, 'paused by admin: open leases still count, no new ones are dealt'],
  [{ kind: 'resumed', by: 'admin', lent }, 'resumed by admin; 4 streams lent to 1 worker'],
  [{ kind: 'late', workers: ['a', 'b'], lent }, 'late: a, b; 4 streams lent to 1 worker'],
  [
    { kind: 'stuck', workers: ['a', 'b'], lent },
    'silent long after the deadline, sent a snapshot: a, b; 4 streams lent to 1 worker',
  ],
  [{ kind: 'workerLeft', worker: 'a', reason: 'crashed', lent }, 'a left (crashed); 4 streams lent to 1 worker'],
  [
    { kind: 'workerResynced', worker: 'a', reason: 'missed an update', lent },
    'a fetches a snapshot (missed an update); 4 streams lent to 1 worker',
  ],
  [{ kind: 'workerPaused', worker: 'a', reason: 'on battery', lent }, 'a paused (on battery); 4 streams lent to 1 worker'],
  [{ kind: 'parked', workers: ['a'], faster: 0.118 }, 'parked: a; the round is 12 % faster without it'],
  [{ kind: 'parked', workers: ['a', 'b'], faster: -0.01 }, 'parked: a, b; the round is as fast without them'],
  [
    { kind: 'parked', workers: [...'abcdefghij'], faster: 3 },
    'parked: a, b, c, d, e, f, g, h and 2 more; the round is 300 % faster without them',
  ],
  [{ kind: 'unparked', workers: ['a', 'b'], why: 'faster' }, 'fetched back: a, b; rounds will be faster'],
  [{ kind: 'unparked', workers: ['a'], why: 'alone' }, 'fetched back: a; nobody else can compute'],
  [{ kind: 'unparked', workers: ['a'], why: 'trial' }, 'fetched back: a; a trial has shown that rounds are faster with it'],
  [
    { kind: 'declined', worker: 'a', code: 'engine', reason: 'device lost', lent },
    'a returned a lease (device lost); 4 streams lent to 1 worker',
  ],
  [
    { kind: 'rejected', worker: 'a', result: 'not_finite', reason: 'NaN', lent },
    'a result of a was rejected (NaN); 4 streams lent to 1 worker',
  ],
  [
    { kind: 'auditFailed', worker: 'a', reason: 'its gradient is off by 200 % of the norm', since: undefined },
    'a is banned: the coordinator computed its lease again, and its gradient is off by 200 % of the norm; nothing of it counted unaudited',
  ],
  [
    { kind: 'auditFailed', worker: 'a', reason: 'its loss is 2 and not 3 nats', since: 41 },
    'a is banned: the coordinator computed its lease again, and its loss is 2 and not 3 nats; what it contributed since round 42 was not audited',
  ],
  [
    { kind: 'lossHigh', trainLoss: 429_581, chanceLoss: 4.174, stopsAbove: 12.52, rounds: 10 },
    'training is unstable: the loss is 4.30e+5 nats/char, and guessing has 4.17; the run stops if it stays above 12.52 for 10 rounds',
  ],
  [{ kind: 'topology', reducers: ['lab-1', 'lab-2'], able: 2 }, 'lab-1, lab-2 sum the gradients, each a part of the parameters'],
  [
    { kind: 'topology', reducers: [], able: 1 },
    'the all-reduce service sums the gradients: only 1 worker can be reached by the others',
  ],
  [
    { kind: 'topology', reducers: ['lab-1', 'lab-2'], able: 2, compared: { peersMs: 8.04, starMs: 12.4 } },
    'lab-1, lab-2 sum the gradients, each a part of the parameters: a round takes 8.0 ms instead of 12 ms',
  ],
  [
    { kind: 'topology', reducers: [], able: 3, compared: { peersMs: 2_640, starMs: 980 } },
    'the all-reduce service sums the gradients: a round takes 980 ms, and 2.6 s when 3 workers sum',
  ],
  [{ kind: 'topology', reducers: [], able: 0 }, 'the all-reduce service sums the gradients: no worker can'],
  [
    { kind: 'thinLinks', workers: 20, utilisation: 0.118, localUtilisation: 0.895, localSteps: 32, tracks: 20 },
    '20 workers on thin links: busy 12 % of the time; --local-steps 32 --tracks 20 --codec int8-both would make it 90 %',
  ],
  [
    { kind: 'lagging', worker: 'a', restMs: 120_000 },
    'parked: a; its link is too slow for the updates of this run; it is tried again in 2 minutes',
  ],
  [{ kind: 'reopened', lent }, 'the all-reduce service is back, and the round starts over; 4 streams lent to 1 worker'],
];

describe('decisionText', () => {
  it.each(EXAMPLES)('renders %o', (decision, text) => {
    expect(decisionText(decision)).toBe(text);
  });

  it('renders every kind of decision above', () => {
    expect([...new Set(EXAMPLES.map(([{ kind }]) => kind))].toSorted()).toEqual(DECISION_KINDS.toSorted());
  });

  it.each<[string, Partial<Lent>, string]>([
    ['how many streams were lent', { streams: 8, workers: 2 }, '8 streams lent to 2 workers'],
    ['one stream in the singular', { streams: 1, workers: 1 }, '1 stream lent to 1 worker'],
    ['what was lent even if some streams wait', { streams: 8, workers: 2, uncovered: 3 }, '8 streams lent to 2 workers'],
    ['that streams wait for a worker', { uncovered: 3 }, '3 streams wait for a free worker'],
    ['that one stream waits for a worker', { uncovered: 1 }, '1 stream waits for a free worker'],
    ['who paused the run', { uncovered: 3, pausedBy: ['a', 'b'] }, 'nothing is lent while the run is paused by a, b'],
    ['that there is nothing to lend', {}, 'every stream is counted or lent'],
  ])('says %s', (_, over, text) => {
    const nothing: Lent = { streams: 0, workers: 0, uncovered: 0, pausedBy: [] };
    expect(decisionText({ kind: 'reopened', lent: { ...nothing, ...over } }).split('; ')[1]).toBe(text);
  });

  it('does not mention streams when a run is resumed before it starts', () => {
    const nothing: Lent = { streams: 0, workers: 0, uncovered: 0, pausedBy: [] };
    expect(decisionText({ kind: 'resumed', by: 'admin', lent: nothing })).toBe('resumed by admin');
  });
});

it('waitingText says what a run waits for', () => {
  expect(waitingText('noWorker')).toBe('no worker is connected; the run continues when one joins');
});
