import type { TrainingConfig } from '@troupe/protocol';
import type { Decision } from '@troupe/scheduler';
import type { Credits } from './credits.js';
import type { RoundTiming } from './view.js';

/**
 * What a run reports: with `--json`, one JSON object per line on the coordinator's standard output.
 * The terminal and the dashboard show these events. Loss is in nats/char, times in ms, rates in
 * chars/s.
 */
export type RunEvent =
  | {
      event: 'listening';
      address: string;
      /** The address for workers on this machine that need no certificate, if there is one. */
      localAddress?: string;
      joinCommand: string;
      runId: string;
      out: string;
      /**
       * The dashboard. The URL's fragment holds the admin token, because servers and other pages
       * never see fragments.
       */
      dashboard?: string;
      /** The page where browsers join. The URL's fragment holds the worker token. */
      volunteer?: string;
      /** The secret of workers, for a program that starts some. */
      token?: string;
      /** Only this machine can reach the coordinator. */
      isLoopback?: boolean;
    }
  | {
      event: 'started';
      /** The first round to compute; more than 0 after a resume. */
      round: number;
      config: TrainingConfig;
      parameters: number;
      corpus: { name: string; characters: number; train: number; validation: number };
    }
  | {
      event: 'worker';
      workerId: string;
      name: string;
      change: 'joined' | 'ready' | 'left' | 'refused' | 'resynced';
      reason: string;
      workers: number;
    }
  | {
      event: 'round';
      /** Rounds completed, counting this one. */
      round: number;
      rounds: number;
      trainLoss: number;
      /** Before clipping. In a local run: of the mean difference of the parameters. */
      gradientNorm: number;
      /** 1 = not clipped. */
      clipScale: number;
      learningRate: number;
      roundMs: number;
      /** Over the last few seconds. */
      charsPerSecond: number;
      etaMs: number;
      /** Workers that were ready. */
      workers: number;
      timing?: RoundTiming;
    }
  /** In a local run: the part of the round after `round` that is computed, 0 to 1. */
  | { event: 'progress'; round: number; fraction: number }
  /** See EvaluationPoint. `best`: the better of its models is better than all before. */
  | { event: 'evaluation'; round: number; validationLoss: number; averageLoss?: number; characters: number; best: boolean }
  /** `bestRound`: the best model wrote it, that of this round; otherwise the model of `round`. */
  | { event: 'sample'; round: number; text: string; bestRound?: number }
  | { event: 'checkpoint'; round: number; path: string; best: boolean }
  /** An unusual decision of the scheduler, as text and as data. */
  | { event: 'decision'; round: number; text: string; decision: Decision }
  /** An admin changed something. */
  | { event: 'control'; round: number; text: string }
  /** Characters that counted since the last such event, of rounds up to `round`. */
  | ({ event: 'credits'; round: number } & Credits)
  /** The run makes no progress. */
  | { event: 'waiting'; reason: string }
  | { event: 'note'; level: 'info' | 'warn'; text: string; remedy?: string }
  | {
      event: 'finished';
      round: number;
      reason: 'completed' | 'stopped';
      checkpoint: string;
      /** Of the last round; see EvaluationPoint. Absent if it was not validated. */
      validationLoss?: number;
      averageLoss?: number;
      /** The best model on disk: its file, its round and its own validation. */
      bestCheckpoint?: string;
      bestRound?: number;
      bestValidationLoss?: number;
      /** The best model is the moving average of the parameters. */
      bestIsAverage?: boolean;
    }
  /** The run is finished, and its pages stay open for those who come later. */
  | { event: 'serving'; dashboard: string; volunteer: string }
  | { event: 'error'; code: string; message: string; remedy: string };
