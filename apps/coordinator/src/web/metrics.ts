/** Metrics for Prometheus. Each run has its own registry. */
import type { Conductor } from '@troupe/conductor';
import type { HistoryEntry, WorkerState } from '@troupe/run';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Board } from '../record/board.js';

/** Seconds. */
const ROUND_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const STATES: readonly WorkerState[] = ['joining', 'syncing', 'ready', 'computing', 'late', 'paused', 'parked'];

export interface Metrics {
  /** The text exposition format, and its content type. */
  read(): Promise<{ readonly text: string; readonly type: string }>;
}

export interface MetricsOptions {
  readonly conductor: Pick<Conductor, 'status' | 'workerStates'>;
  readonly board: Board;
  /** Characters per round: B * T. */
  readonly roundCharacters: number;
  readonly runId: string;
  viewers(): number;
}

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const { board } = options;
  addBusy(registry);
  new Gauge({ name: 'troupe_info', help: 'The run.', labelNames: ['run'], registers: [registry] }).set({ run: options.runId }, 1);
  addGauges(registry, options);
  addDecisions(registry, board);
  board.watch(countWith(registry, options.roundCharacters));
  return { read: async () => ({ text: await registry.metrics(), type: registry.contentType }) };
}

/** Their values are read when Prometheus asks. */
function addGauges(registry: Registry, { conductor, board, viewers }: MetricsOptions): void {
  const gauge = (name: string, help: string, value: () => number | undefined): void => {
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(value() ?? NaN);
      },
    });
  };
  const { history } = board;
  gauge('troupe_round', 'Rounds completed.', () => conductor.status().round);
  gauge('troupe_rounds', 'Rounds that the run will complete.', () => conductor.status().config.rounds);
  gauge('troupe_running', '1 while rounds are computed, otherwise 0.', () => Number(conductor.status().phase === 'running'));
  gauge('troupe_train_loss', 'Training loss of the last round, nats per character.', () => history.latest?.trainLoss);
  gauge(
    'troupe_train_loss_smoothed',
    'Mean training loss of the last rounds, nats per character.',
    () => history.latest?.smoothedLoss,
  );
  gauge(
    'troupe_validation_loss',
    'Loss of the last validation, nats per character.',
    () => history.evaluations.at(-1)?.validationLoss,
  );
  gauge(
    'troupe_validation_loss_average',
    'Loss of the last validation with averaged parameters, nats per character.',
    () => history.evaluations.at(-1)?.averageLoss,
  );
  gauge('troupe_gradient_norm', NORM_HELP, () => history.latest?.gradientNorm);
  gauge('troupe_learning_rate', 'Learning rate of the last round.', () => history.latest?.learningRate);
  gauge(
    'troupe_characters_per_second',
    'Characters trained per second, over the last seconds.',
    () => history.latest?.charsPerSecond,
  );
  gauge('troupe_eta_seconds', 'Estimated time until the last round.', () => board.etaMs && board.etaMs / 1000);
  gauge('troupe_workers_connected', 'Workers that have joined and have not left.', () => conductor.status().workerCount);
  gauge('troupe_viewers', 'Open dashboards.', viewers);
  new Gauge({
    name: 'troupe_workers',
    help: 'Connected workers by state.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      const states = conductor.workerStates();
      for (const state of STATES) this.set({ state }, states.get(state) ?? 0);
    },
  });
}

/** Links, all-reduce, pages and scheduling share one thread. Its idle time is the run's reserve. */
function addBusy(registry: Registry): void {
  new Counter({
    name: 'troupe_busy_seconds_total',
    help: "Time that the coordinator's main thread was busy.",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(performance.eventLoopUtilization().active / 1000);
    },
  });
}

function addDecisions(registry: Registry, { decisions }: Board): void {
  new Counter({
    name: 'troupe_decisions_total',
    help: 'Unusual decisions of the scheduler, by kind.',
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [kind, count] of decisions) this.inc({ kind }, count);
    },
  });
}

const NORM_HELP =
  'Global gradient norm of the last round, before clipping. In a run of local rounds: norm of the mean difference of the parameters.';

/** Counts from the start of this process. */
function countWith(registry: Registry, roundCharacters: number): (entry: HistoryEntry) => void {
  const registers = [registry];
  const rounds = new Counter({ name: 'troupe_rounds_total', help: 'Rounds completed by this coordinator.', registers });
  const characters = new Counter({ name: 'troupe_characters_total', help: 'Characters trained on.', registers });
  const clipped = new Counter({
    name: 'troupe_rounds_clipped_total',
    help: 'Rounds in which the gradient was clipped.',
    registers,
  });
  const events = new Counter({
    name: 'troupe_events_total',
    help: 'Entries of the event log.',
    labelNames: ['kind', 'level'],
    registers,
  });
  const seconds = new Histogram({ name: 'troupe_round_seconds', help: 'Duration of rounds.', buckets: ROUND_BUCKETS, registers });
  const parts = new Counter({
    name: 'troupe_round_part_seconds_total',
    help: 'Time of rounds by part, along the worker that completed each round.',
    labelNames: ['part'],
    registers,
  });
  return (entry) => {
    if (entry.type === 'event') events.inc({ kind: entry.event.kind, level: entry.event.level });
    if (entry.type !== 'round') return;
    const { roundMs, computeMs, transferMs, reduceMs, waitingMs, clipScale } = entry.point;
    rounds.inc();
    characters.inc(roundCharacters);
    if (clipScale < 1) clipped.inc();
    seconds.observe(roundMs / 1000);
    for (const [part, ms] of Object.entries({ compute: computeMs, transfer: transferMs, reduce: reduceMs, waiting: waitingMs })) {
      parts.inc({ part }, ms / 1000);
    }
  };
}
