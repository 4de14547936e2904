/** The session with a fake trainer; tests/e2e has a real one. */
import { describe, expect, it } from 'vitest';
import type { Order, Progress, Report } from '../src/messages.js';
import { createSession } from '../src/session.js';

interface Trainer {
  readonly orders: Order[];
  report(report: Report): void;
  terminated: boolean;
}

function play() {
  const trainers: Trainer[] = [];
  const timers: (() => void)[] = [];
  const phases: string[] = [];
  const session = createSession({
    openTrainer(onReport) {
      const trainer: Trainer = { orders: [], report: onReport, terminated: false };
      trainers.push(trainer);
      return { post: (order) => trainer.orders.push(order), terminate: () => (trainer.terminated = true) };
    },
    after(_ms, action) {
      timers.push(action);
      return () => timers.splice(timers.indexOf(action), 1);
    },
    introduction: () => ({ address: 'ws://host/control', token: 'secret', name: 'Ada' }),
    onStatus: ({ phase }) => phases.push(phase.at),
  });
  return { session, trainers, phases, passTime: () => timers.splice(0).forEach((action) => action()) };
}

const progress = (of: Partial<Progress>): Progress => ({
  ...{
    kind: 'progress',
    round: 1,
    characters: 100,
    rounds: 1,
    computed: 100,
    elapsedMs: 10,
    threads: 2,
    sentBytes: 0,
    receivedBytes: 0,
    heatFactor: 1,
  },
  ...of,
});

describe('a session', () => {
  it('opens no trainer before the volunteer starts it', () => {
    const { session, trainers } = play();
    session.setShare(0.4);
    session.note({ hidden: false });
    expect(trainers).toEqual([]);
    session.start();
    expect(trainers[0].orders).toEqual([
      { kind: 'start', share: 0.4, rateMbit: 0, address: 'ws://host/control', token: 'secret', name: 'Ada' },
    ]);
  });

  it('releases the trainer when paused, terminates it after a while, and opens another on resume', () => {
    const { session, trainers, passTime } = play();
    session.start();
    session.note({ pausedByPerson: true });
    expect(trainers[0].orders.at(-1)).toEqual({ kind: 'leave', reason: 'paused by the volunteer' });
    expect(trainers[0].terminated).toBe(false);
    passTime();
    expect(trainers[0].terminated).toBe(true);
    expect(session.status.phase).toEqual({ at: 'paused', why: 'person' });
    expect(session.isOn).toBe(true);
    session.note({ pausedByPerson: false });
    expect(trainers).toHaveLength(2);
    expect(session.status.phase.at).toBe('connecting');
  });

  it('pauses and resumes by itself for battery and data limit', () => {
    const { session, trainers } = play();
    session.note({ pauseOnBattery: true, battery: { charging: false }, capBytes: 1000 });
    session.start();
    expect(trainers).toHaveLength(0);
    expect(session.status.phase).toEqual({ at: 'paused', why: 'battery' });
    session.note({ battery: { charging: true } });
    expect(trainers).toHaveLength(1);
    trainers[0].report(progress({ sentBytes: 600, receivedBytes: 399 }));
    expect(session.status.phase.at).toBe('computing');
    trainers[0].report({ kind: 'log', entry: { kind: 'parked', reason: 'faster without' } });
    trainers[0].report(progress({ computed: 0, sentBytes: 1 }));
    expect(session.status.phase).toEqual({ at: 'paused', why: 'cap' });
    session.note({ capBytes: 0 });
    expect(trainers).toHaveLength(2);
  });

  describe('that reaches its data limit', () => {
    const capped = () => {
      const played = play();
      played.session.note({ capBytes: 1_000 });
      played.session.start();
      played.trainers[0].report(progress({ sentBytes: 1_000 }));
      return played;
    };
    const ended: Report = { kind: 'ended', failure: undefined };

    it('finishes what is under way, and then pauses', () => {
      const { session, trainers } = capped();
      expect(trainers[0].orders.at(-1)).toEqual({ kind: 'finish' });
      expect(session.status).toMatchObject({ phase: { at: 'computing' }, isFinishing: true });
      trainers[0].report(progress({ sentBytes: 40, characters: 60 }));
      expect(trainers[0].orders.filter(({ kind }) => kind === 'finish')).toHaveLength(1);
      trainers[0].report(ended);
      expect(session.status).toMatchObject({ phase: { at: 'paused', why: 'cap' }, isFinishing: false, characters: 160 });
      expect(session.isOn).toBe(true);
      expect(trainers).toHaveLength(1);
    });

    it('goes on when asked, with as much again', () => {
      const { session, trainers } = capped();
      trainers[0].report(ended);
      session.goOn();
      expect(trainers).toHaveLength(2);
      trainers[1].report(progress({ sentBytes: 999 }));
      expect(session.status).toMatchObject({ phase: { at: 'computing' }, isFinishing: false });
      trainers[1].report(progress({ sentBytes: 1 }));
      expect(session.status.isFinishing).toBe(true);
    });

    it('goes on when the limit is raised meanwhile', () => {
      const { session, trainers } = capped();
      session.note({ capBytes: 2_000 });
      expect(trainers).toHaveLength(1);
      trainers[0].report(ended);
      expect(trainers).toHaveLength(2);
      expect(session.status.phase.at).toBe('connecting');
    });

    it('pauses although its link breaks, and when the volunteer pauses it meanwhile', () => {
      const one = capped();
      one.trainers[0].report({ kind: 'log', entry: { kind: 'lost', reason: 'gone', remedy: '', retryInMs: 700 } });
      expect(one.session.status.phase).toEqual({ at: 'paused', why: 'cap' });
      const other = capped();
      other.session.note({ pausedByPerson: true });
      expect(other.session.status.phase).toEqual({ at: 'paused', why: 'person' });
      expect(other.session.isOn).toBe(true);
    });

    it('counts from the start of each session', () => {
      const { session, trainers } = capped();
      session.leave();
      session.start();
      trainers[1].report(progress({ sentBytes: 999 }));
      expect(session.status.isFinishing).toBe(false);
    });
  });

  it('tells its trainer the rate limit, at the start and later', () => {
    const { session, trainers } = play();
    session.setRate(5);
    session.start();
    expect(trainers[0].orders[0]).toMatchObject({ kind: 'start', rateMbit: 5 });
    session.setRate(0);
    expect(trainers[0].orders[1]).toEqual({ kind: 'rate', rateMbit: 0 });
  });

  it('counts the last progress of a released trainer, and ignores its other reports', () => {
    const { session, trainers } = play();
    session.start();
    trainers[0].report(progress({ characters: 100 }));
    session.note({ pausedByPerson: true });
    trainers[0].report(progress({ characters: 50 }));
    trainers[0].report({ kind: 'log', entry: { kind: 'stopped', reason: 'asked to stop' } });
    trainers[0].report({ kind: 'ended', failure: undefined });
    expect(session.status).toMatchObject({ characters: 150, rounds: 2, phase: { at: 'paused' } });
    expect(session.isOn).toBe(true);
  });

  it('ends with the run', () => {
    const { session, trainers } = play();
    session.start();
    trainers[0].report({ kind: 'log', entry: { kind: 'stopped', code: 'completed', reason: 'the run is complete' } });
    trainers[0].report({ kind: 'ended', failure: undefined });
    expect(session.status.phase).toEqual({ at: 'over', code: 'completed', reason: 'the run is complete' });
    expect(session.isOn).toBe(false);
    session.note({ hidden: true });
    expect(trainers).toHaveLength(1);
  });

  it('shows a failure and can be started again', () => {
    const { session, trainers } = play();
    session.start();
    const failure = { code: 'run_full', message: 'no room', remedy: 'later' };
    trainers[0].report({ kind: 'ended', failure });
    expect(session.status.phase).toEqual({ at: 'failed', failure });
    expect(trainers[0].terminated).toBe(true);
    session.start();
    expect(trainers).toHaveLength(2);
  });

  it('stays at "reconnecting" over failed attempts until the coordinator accepts it', () => {
    const { session, trainers } = play();
    session.start();
    const log = (entry: (Report & { kind: 'log' })['entry']): void => trainers[0].report({ kind: 'log', entry });
    for (let i = 0; i < 2; i++) {
      log({ kind: 'connecting', address: 'ws://host' });
      log({ kind: 'lost', reason: 'gone', remedy: '', retryInMs: 700 });
    }
    log({ kind: 'connecting', address: 'ws://host' });
    expect(session.status).toMatchObject({ phase: { at: 'reconnecting', retryInMs: 700 }, failedAttempts: 2 });
    log({ kind: 'welcome', runId: 'r', workerId: 'w', parameters: 12 });
    expect(session.status).toMatchObject({ phase: { at: 'preparing' }, failedAttempts: 0, parameters: 12 });
  });

  it('replaces a running trainer when asked, and opens none otherwise', () => {
    const { session, trainers, passTime } = play();
    session.restart('direct links were turned on');
    expect(trainers).toEqual([]);
    session.start();
    session.restart('direct links were turned off');
    expect(trainers[0].orders.at(-1)).toEqual({ kind: 'leave', reason: 'direct links were turned off' });
    expect(trainers[1].orders.at(-1)).toMatchObject({ kind: 'start' });
    passTime();
    expect(trainers.map(({ terminated }) => terminated)).toEqual([true, false]);
    session.note({ pausedByPerson: true });
    session.restart('direct links were turned on');
    expect(trainers).toHaveLength(2);
  });

  describe('that finishes, then stops', () => {
    const finishing = () => {
      const played = play();
      played.session.start();
      played.trainers[0].report(progress({}));
      played.session.finish();
      return played;
    };

    it('asks its trainer to leave once its work counts, and says so meanwhile', () => {
      const { session, trainers } = finishing();
      expect(trainers[0].orders.at(-1)).toEqual({ kind: 'finish' });
      expect(session.status).toMatchObject({ phase: { at: 'computing' }, isFinishing: true });
      trainers[0].report(progress({ characters: 40 }));
      trainers[0].report({ kind: 'log', entry: { kind: 'stopped', reason: 'asked to pause' } });
      expect(session.status.phase.at).toBe('computing');
      trainers[0].report({ kind: 'ended', failure: undefined });
      expect(session.status).toMatchObject({ phase: { at: 'idle' }, isFinishing: false, characters: 140 });
      expect(session.isOn).toBe(false);
      expect(trainers).toHaveLength(1);
    });

    it.each<[string, (at: ReturnType<typeof play>) => void]>([
      [
        'its link breaks',
        ({ trainers }) =>
          trainers[0].report({ kind: 'log', entry: { kind: 'lost', reason: 'gone', remedy: '', retryInMs: 700 } }),
      ],
      ['it is paused', ({ session }) => session.note({ hidden: true, pauseWhenHidden: true })],
      ['a setting needs another trainer', ({ session }) => session.restart('direct links were turned on')],
      ['the volunteer leaves', ({ session }) => session.leave()],
    ])('leaves when %s', (_, happen) => {
      const played = finishing();
      happen(played);
      const { session, trainers } = played;
      expect(session.status).toMatchObject({ phase: { at: 'idle' }, isFinishing: false });
      expect(session.isOn).toBe(false);
      expect(trainers).toHaveLength(1);
    });

    it('shows the end of the run, if that comes first', () => {
      const { session, trainers } = finishing();
      trainers[0].report({ kind: 'log', entry: { kind: 'stopped', code: 'completed', reason: 'the run is complete' } });
      trainers[0].report({ kind: 'ended', failure: undefined });
      expect(session.status.phase).toMatchObject({ at: 'over', code: 'completed' });
    });

    it('leaves at once when nothing is being computed', () => {
      const { session, trainers } = play();
      session.start();
      session.finish();
      expect(trainers[0].orders.at(-1)).toMatchObject({ kind: 'leave' });
      expect(session.status.phase.at).toBe('idle');
    });
  });

  it('knows the engine of its trainer for the next one, with its speed', () => {
    const { session, trainers } = play();
    session.start();
    const known = { key: 'k', kind: 'wasm', variant: 'simd', trials: [], share: 1, charsPerSecond: undefined } as const;
    trainers[0].report({ kind: 'engine', engine: 'wasm', variant: 'wasm simd', trials: [], known });
    expect(session.status.known).toEqual(known);
    trainers[0].report({ kind: 'log', entry: { kind: 'ready', round: 3, engine: 'wasm simd', charsPerSecond: 700 } });
    session.note({ pausedByPerson: true });
    expect(session.status.known).toEqual({ ...known, charsPerSecond: 700 });
  });

  it('keeps its counts when the volunteer leaves and comes back', () => {
    const { session, trainers } = play();
    session.start();
    trainers[0].report(progress({ characters: 70 }));
    session.leave();
    expect(session.isOn).toBe(false);
    session.start();
    trainers[1].report(progress({ characters: 30 }));
    expect(session.status.characters).toBe(100);
  });
});
