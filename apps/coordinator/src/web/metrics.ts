/** Figures for Prometheus, in a registry of this run alone. */
import type { Conductor } from '@troupe/conductor';
import type { HistoryEntry, WorkerState } from '@troupe/run';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Board } from '../record/board.js';

/** Seconds. */
const ROUND_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const STATES: readonly WorkerState[] = ['joining', 'syncing', 'ready', 'computing', 'late', 'paused'];

export interface Metrics {
  /** Text exposition format, and its content type. */
  read(): Promise<{ readonly text: string; readonly type: string }>;
}

export interface MetricsOptions {
  readonly conductor: Pick<Conductor, 'status' | 'workers'>;
  readonly board: Board;
  /** Characters of a round: B * T. */
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

/** Read when somebody asks. */
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
  gauge('troupe_rounds', 'Rounds to be computed in all.', () => conductor.status().config.rounds);
  gauge('troupe_running', '1 while rounds are computed, else 0.', () => Number(conductor.status().phase === 'running'));
  gauge('troupe_train_loss', 'Of the last round, nats per character.', () => history.latest?.trainLoss);
  gauge('troupe_train_loss_smoothed', 'Mean of the last rounds, nats per character.', () => history.latest?.smoothedLoss);
  gauge(
    'troupe_validation_loss',
    'Of the last validation, nats per character.',
    () => history.evaluations.at(-1)?.validationLoss,
  );
  gauge('troupe_gradient_norm', 'Before clipping.', () => history.latest?.gradientNorm);
  gauge('troupe_learning_rate', 'Of the last round.', () => history.latest?.learningRate);
  gauge('troupe_characters_per_second', 'Over the last seconds.', () => history.latest?.charsPerSecond);
  gauge('troupe_eta_seconds', 'Until the last round.', () => board.etaMs && board.etaMs / 1000);
  gauge('troupe_workers_connected', 'Workers that have joined and not left.', () => conductor.status().workerCount);
  gauge('troupe_viewers', 'Open dashboards.', viewers);
  new Gauge({
    name: 'troupe_workers',
    help: 'Workers by what they are doing.',
    labelNames: ['state'],
    registers: [registry],
    collect() {
      const workers = conductor.workers();
      for (const state of STATES) this.set({ state }, workers.filter((worker) => worker.state === state).length);
    },
  });
}

/** Links, all-reduce, pages and decisions share one thread: what is left of it is what the run has in reserve. */
function addBusy(registry: Registry): void {
  new Counter({
    name: 'troupe_busy_seconds_total',
    help: "Time that the coordinator's main thread was at work.",
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
    help: 'What the scheduler decided out of the ordinary, by kind.',
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [kind, count] of decisions) this.inc({ kind }, count);
    },
  });
}

/** Counted as it happens, from the start of this process. */
function countWith(registry: Registry, roundCharacters: number): (entry: HistoryEntry) => void {
  const registers = [registry];
  const rounds = new Counter({ name: 'troupe_rounds_total', help: 'Rounds completed by this coordinator.', registers });
  const characters = new Counter({ name: 'troupe_characters_total', help: 'Characters trained on.', registers });
  const clipped = new Counter({ name: 'troupe_rounds_clipped_total', help: 'Rounds whose gradient was clipped.', registers });
  const events = new Counter({
    name: 'troupe_events_total',
    help: 'Lines of the event log.',
    labelNames: ['kind', 'level'],
    registers,
  });
  const seconds = new Histogram({ name: 'troupe_round_seconds', help: 'Duration of rounds.', buckets: ROUND_BUCKETS, registers });
  const parts = new Counter({
    name: 'troupe_round_part_seconds_total',
    help: 'Where the time of rounds went, along the last worker of each.',
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
