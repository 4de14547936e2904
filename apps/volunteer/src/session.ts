/** A volunteer's session: started, paused, resumed, left. A trainer exists only while the session is not paused. */
import { pauseReason, type Circumstances, type PauseReason } from './decisions/pause.js';
import { advance, IDLE, type Status, type StatusInput } from './decisions/status.js';
import type { Order, Progress, Report } from './messages.js';

export interface TrainerHandle {
  post(order: Order): void;
  /** Ends it immediately. */
  terminate(): void;
}

export interface SessionPorts {
  openTrainer(onReport: (report: Report) => void): TrainerHandle;
  /** Runs `action` after `ms`, unless the returned function is called before. */
  after(ms: number, action: () => void): () => void;
  /** What a trainer starts with. */
  introduction(): Omit<Order & { kind: 'start' }, 'kind' | 'share' | 'rateMbit'>;
  onStatus(status: Status): void;
}

export interface Session {
  readonly status: Status;
  /** The volunteer has started it, and it has not ended; it may be paused. */
  readonly isOn: boolean;
  start(): void;
  leave(): void;
  /** Leaves as soon as what is being computed counts; at once if nothing is. */
  finish(): void;
  /** Allows as much traffic again. */
  goOn(): void;
  /** @param share 0.1 to 1 */
  setShare(share: number): void;
  /** @param mbit in each direction; 0: no limit */
  setRate(mbit: number): void;
  note(circumstances: Partial<Omit<Circumstances, 'trafficBytes'>>): void;
  reconnect(reason: string): void;
  /** Replaces the trainer, if there is one, so that it starts with the present introduction. */
  restart(reason: string): void;
}

/**
 * A trainer that computes in its own thread reads no messages until its gradient is done. After this time it is terminated: the link
 * closes, and the coordinator hands the lease to others at once.
 */
const LEAVE_TIMEOUT_MS = 300;

const INITIAL: Circumstances = {
  pausedByPerson: false,
  hidden: false,
  pauseWhenHidden: false,
  battery: undefined,
  pauseOnBattery: false,
  trafficBytes: 0,
  capBytes: 0,
};

const LEAVE_REASONS: Readonly<Record<PauseReason, string>> = {
  person: 'paused by the volunteer',
  cap: 'paused: the data limit is reached',
  battery: 'paused on battery power',
  hidden: 'paused: the tab is hidden',
};

function isLog<K extends LogEntry['kind']>(
  report: Report,
  kind: K,
): report is Report & { kind: 'log'; entry: Extract<LogEntry, { kind: K }> } {
  return report.kind === 'log' && report.entry.kind === kind;
}

type LogEntry = (Report & { kind: 'log' })['entry'];

export function createSession(ports: SessionPorts): Session {
  let status = IDLE;
  let circumstances = INITIAL;
  let isOn = false;
  let share = 1;
  let rateMbit = 0;
  let trainer: TrainerHandle | undefined;
  /** Traffic when the volunteer started, or went on: the limit counts from there. */
  let allowedFrom = 0;
  /** It finishes because the data limit is reached, and not because the volunteer wants to stop. */
  let isCapped = false;

  const apply = (input: StatusInput): void => {
    status = advance(status, input);
    ports.onStatus(status);
  };
  const releaseTrainer = (reason: string): void => {
    const leaving = trainer;
    trainer = undefined;
    leaving?.post({ kind: 'leave', reason });
    if (leaving) ports.after(LEAVE_TIMEOUT_MS, () => leaving.terminate());
  };
  const end = (): void => {
    isOn = false;
    isCapped = false;
    trainer?.terminate();
    trainer = undefined;
  };
  const traffic = (): number => status.sentBytes + status.receivedBytes;
  const leave = (): void => {
    releaseTrainer('the volunteer left');
    isOn = false;
    isCapped = false;
    apply({ kind: 'left' });
  };
  /** The data limit is reached, and what was under way counts. */
  const pauseForCap = (): void => {
    releaseTrainer(LEAVE_REASONS.cap);
    applyPauses();
  };
  const finish = (): void => {
    trainer?.post({ kind: 'finish' });
    apply({ kind: 'finishing' });
  };
  const onReport = (report: Report): void => {
    apply(report);
    if (report.kind === 'ended') end();
    applyPauses();
  };
  /** What a trainer says that is about to leave by itself. */
  const onLastReport = (report: Report): void => {
    const isOver = report.kind === 'ended' && report.failure === undefined && status.phase.at !== 'over';
    // A trainer that has lost its link has nothing left to finish.
    if (isOver || isLog(report, 'lost')) (isCapped ? pauseForCap : leave)();
    // Nobody but the volunteer has stopped it.
    else if (!(isLog(report, 'stopped') && report.entry.code === undefined)) onReport(report);
  };
  const startTrainer = (): void => {
    isCapped = false;
    apply({ kind: 'started' });
    const mine: TrainerHandle = ports.openTrainer((report) => {
      // A released trainer still reports what it has computed and its traffic.
      if (trainer !== mine && report.kind !== 'progress') return;
      if (trainer !== mine) apply({ ...(report as Progress), kind: 'final' });
      else if (status.isFinishing) onLastReport(report);
      else onReport(report);
    });
    trainer = mine;
    mine.post({ kind: 'start', share, rateMbit, ...ports.introduction() });
  };
  const applyPauses = (): void => {
    if (!isOn) return;
    const why = pauseReason({ ...circumstances, trafficBytes: traffic() - allowedFrom });
    if (why === undefined) {
      if (!trainer) startTrainer();
      return;
    }
    if (why === 'cap' && trainer && status.phase.at === 'computing') {
      if (status.isFinishing) return;
      isCapped = true;
      return finish();
    }
    if (status.isFinishing && !isCapped) return leave();
    isCapped = false;
    if (trainer) releaseTrainer(LEAVE_REASONS[why]);
    const { phase } = status;
    if (phase.at !== 'paused' || phase.why !== why) apply({ kind: 'paused', why });
  };

  return {
    get status() {
      return status;
    },
    get isOn() {
      return isOn;
    },
    start() {
      circumstances = { ...circumstances, pausedByPerson: false };
      allowedFrom = traffic();
      isOn = true;
      applyPauses();
    },
    leave,
    finish() {
      if (!trainer || status.phase.at !== 'computing') return leave();
      finish();
    },
    goOn() {
      allowedFrom = traffic();
      applyPauses();
    },
    setShare(next) {
      share = next;
      trainer?.post({ kind: 'share', share });
    },
    setRate(next) {
      rateMbit = next;
      trainer?.post({ kind: 'rate', rateMbit });
    },
    note(news) {
      circumstances = { ...circumstances, ...news };
      applyPauses();
    },
    restart(reason) {
      if (status.isFinishing && !isCapped) return leave();
      isCapped = false;
      releaseTrainer(reason);
      applyPauses();
    },
    reconnect(reason) {
      trainer?.post({ kind: 'reconnect', reason });
    },
  };
}
