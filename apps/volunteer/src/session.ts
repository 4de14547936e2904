/** A session as its person sees it: started, paused for one reason or another, taken up again, left. A trainer lives only while it computes. */
import { pauseReason, type Circumstances, type PauseReason } from './decisions/pause.js';
import { advance, IDLE, type Status, type StatusInput } from './decisions/status.js';
import type { Order, Report } from './messages.js';

export interface TrainerHandle {
  post(order: Order): void;
  /** Ends it wherever it is. */
  terminate(): void;
}

export interface SessionPorts {
  openTrainer(onReport: (report: Report) => void): TrainerHandle;
  /** Runs `action` after `ms`, unless the returned function is called before. */
  after(ms: number, action: () => void): () => void;
  /** What each session starts with. */
  introduction(): Omit<Order & { kind: 'start' }, 'kind' | 'share'>;
  onStatus(status: Status): void;
}

export interface Session {
  readonly status: Status;
  /** Started by its person and neither left nor over; it may be paused. */
  readonly isOn: boolean;
  start(): void;
  leave(): void;
  /** @param share 0.1 to 1 */
  setShare(share: number): void;
  note(circumstances: Partial<Omit<Circumstances, 'trafficBytes'>>): void;
  reconnect(reason: string): void;
}

/**
 * A trainer that computes in its own thread hears nothing until its gradient is done. Its lease shall be back at once all the same: then
 * it is ended, and the coordinator sees the link close.
 */
const FAREWELL_MS = 300;

const OPEN: Circumstances = {
  pausedByPerson: false,
  hidden: false,
  pauseWhenHidden: false,
  battery: undefined,
  pauseOnBattery: false,
  trafficBytes: 0,
  capBytes: 0,
};

const FAREWELLS: Readonly<Record<PauseReason, string>> = {
  person: 'paused by the volunteer',
  cap: 'paused: the data limit is reached',
  battery: 'paused on battery power',
  hidden: 'paused: the tab is hidden',
};

export function createSession(ports: SessionPorts): Session {
  let status = IDLE;
  let circumstances = OPEN;
  let isOn = false;
  let share = 1;
  let trainer: TrainerHandle | undefined;

  const apply = (input: StatusInput): void => {
    status = advance(status, input);
    ports.onStatus(status);
  };
  const dismiss = (reason: string): void => {
    const leaving = trainer;
    trainer = undefined;
    leaving?.post({ kind: 'leave', reason });
    if (leaving) ports.after(FAREWELL_MS, () => leaving.terminate());
  };
  const finish = (): void => {
    isOn = false;
    trainer?.terminate();
    trainer = undefined;
  };
  const employ = (): void => {
    apply({ kind: 'started' });
    const mine: TrainerHandle = ports.openTrainer((report) => {
      // One that leaves still says what it has computed and what that cost.
      if (trainer !== mine && report.kind !== 'progress') return;
      apply(report.kind === 'progress' && trainer !== mine ? { ...report, kind: 'farewell' } : report);
      if (trainer === mine && report.kind === 'ended') finish();
      reconsider();
    });
    trainer = mine;
    mine.post({ kind: 'start', share, ...ports.introduction() });
  };
  const reconsider = (): void => {
    if (!isOn) return;
    const why = pauseReason({ ...circumstances, trafficBytes: status.sentBytes + status.receivedBytes });
    if (why === undefined) {
      if (!trainer) employ();
      return;
    }
    if (trainer) dismiss(FAREWELLS[why]);
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
      isOn = true;
      reconsider();
    },
    leave() {
      dismiss('the volunteer left');
      isOn = false;
      apply({ kind: 'left' });
    },
    setShare(next) {
      share = next;
      trainer?.post({ kind: 'share', share });
    },
    note(news) {
      circumstances = { ...circumstances, ...news };
      reconsider();
    },
    reconnect(reason) {
      trainer?.post({ kind: 'reconnect', reason });
    },
  };
}
