import type { ReduceUpdate } from '@troupe/collective';
import { decisionText, waitingText } from '@troupe/run';
import type { Decision } from '@troupe/scheduler';
import { beforeEach, describe, expect, it } from 'vitest';
import { createAnnouncer, warningOf, type Announcer } from '../src/announcer.js';
import type { ConductorEvent, WorkerIdentity } from '../src/events.js';
import { CONFIG, NO_SESSION } from './fixture.js';

const ann: WorkerIdentity = { id: 'w1', name: 'Ann', kind: 'node', remote: 'lab:1', trusted: true };
const timing = { computeMs: 1, transferMs: 2, reduceMs: 3, waitingMs: 4 };
const roster = { connected: 5, timing };
const news = { event: 'worker', workerId: 'w1', name: 'Ann', workers: 5 };

let announce: Announcer;
beforeEach(() => {
  announce = createAnnouncer({ config: CONFIG, knobs: CONFIG, roster, startMs: 0 });
});

const told = (event: ConductorEvent, over = false) => announce(event, 0, over);

describe('the announcer', () => {
  it('announces that a worker joined, is ready, resynced and left', () => {
    expect(told({ type: 'workerJoined', worker: ann, session: NO_SESSION })).toEqual({
      ...news,
      change: 'joined',
      reason: 'from lab:1',
    });
    const digests = { round: 0, layoutHash: '', parametersDigest: '' };
    const ready = { type: 'ready', ...digests, engine: 'wasm simd', device: 'cpu', charsPerSecond: 1234.5 } as const;
    expect(told({ type: 'workerMessage', worker: ann, message: ready })).toEqual({
      ...news,
      change: 'ready',
      reason: 'wasm simd, 1235 chars/s',
    });
    const resync = { type: 'resync', reason: 'missed round 3', round: 0, fromPeers: false } as const;
    expect(told({ type: 'workerMessage', worker: ann, message: resync })).toEqual({
      ...news,
      change: 'resynced',
      reason: 'missed round 3',
    });
    expect(told({ type: 'workerLeft', worker: ann, reason: 'lunch' })).toEqual({ ...news, change: 'left', reason: 'lunch' });
  });

  it('does not announce first snapshots, declined leases, or workers that leave after the run', () => {
    const decline = { type: 'decline', leaseId: 'l', round: 0, code: 'engine', reason: 'lost' } as const;
    expect(
      told({ type: 'workerMessage', worker: ann, message: { type: 'resync', reason: 'joining', round: 0, fromPeers: false } }),
    ).toBeUndefined();
    expect(told({ type: 'workerMessage', worker: ann, message: decline })).toBeUndefined();
    expect(told({ type: 'workerLeft', worker: ann, reason: 'complete' }, true)).toBeUndefined();
  });

  it('announces a refused peer with the reason', () => {
    expect(told({ type: 'peerRefused', name: 'Eve', reason: 'wrong_token: no' })).toEqual({
      ...news,
      workerId: '',
      name: 'Eve',
      change: 'refused',
      reason: 'wrong_token: no',
    });
  });

  it('announces that the all-reduce service is lost, and why it refuses', () => {
    expect(told({ type: 'reduceLost', reason: 'gone' })).toEqual({
      event: 'waiting',
      reason: 'the all-reduce service is lost (gone); reconnecting',
    });
    expect(told({ type: 'reduceRefused', reason: 'another run', remedy: 'Wait.' })).toEqual({
      event: 'note',
      level: 'warn',
      text: 'another run',
      remedy: 'Wait.',
    });
  });

  it("announces the scheduler's decisions with their round, and that the run waits", () => {
    const decision: Decision = { kind: 'paused', by: 'admin' };
    expect(told({ type: 'outcome', outcome: { type: 'decision', decision }, round: 3 })).toEqual({
      event: 'decision',
      round: 3,
      text: decisionText(decision),
      decision,
    });
    expect(told({ type: 'outcome', outcome: { type: 'waiting', reason: 'noWorker' }, round: 3 })).toEqual({
      event: 'waiting',
      reason: waitingText('noWorker'),
    });
    expect(told({ type: 'outcome', outcome: { type: 'checkpoint', round: 3 }, round: 3 })).toBeUndefined();
  });

  it('warns of an unstable loss once each time that it becomes so, with a remedy', () => {
    const decision: Decision = { kind: 'lossHigh', trainLoss: 9, chanceLoss: 4, stopsAbove: 12, rounds: 10 };
    expect(warningOf({ type: 'outcome', outcome: { type: 'decision', decision }, round: 3 })).toEqual({
      event: 'note',
      level: 'warn',
      text: decisionText(decision),
      remedy: expect.stringMatching(/--lr.*--clip/),
    });
    const paused: Decision = { kind: 'paused', by: 'admin' };
    expect(warningOf({ type: 'outcome', outcome: { type: 'decision', decision: paused }, round: 3 })).toBeUndefined();
  });

  it('announces a round with its loss per character, its speed and the time left', () => {
    const figures = { gradientNorm: 2, clipScale: 0.5, learningRate: 0.25 };
    const update = { round: 1, tokens: 12, lossSum: 30, ...figures } as ReduceUpdate;
    announce({ type: 'updated', update: { ...update, round: 0 }, readyWorkers: 2 }, 500, false);
    expect(announce({ type: 'updated', update, readyWorkers: 3 }, 2_000, false)).toEqual({
      event: 'round',
      round: 2,
      rounds: 6,
      trainLoss: 2.5,
      ...figures,
      roundMs: 1_500,
      charsPerSecond: 12,
      etaMs: 4_000,
      workers: 3,
      timing,
    });
  });
});
