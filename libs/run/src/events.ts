import type { TrainingConfig } from '@troupe/protocol';
import type { Decision } from '@troupe/scheduler';
import type { RoundTiming } from './view.js';

/**
 * What a run tells the world, one JSON object a line on the coordinator's standard output with `--json`, and what the terminal and
 * the dashboard are drawn from. Loss in nats/char, times in ms, rates in chars/s.
 */
export type RunEvent =
  | {
      event: 'listening';
      address: string;
      /** Where workers on this machine come in without a certificate, if there is such a door. */
      localAddress?: string;
      joinCommand: string;
      runId: string;
      out: string;
      /** Where the run is seen and steered; its fragment holds the admin token, which no server log and no other page sees. */
      dashboard?: string;
      /** Where a browser joins; its fragment holds the token of workers. */
      volunteer?: string;
    }
  | {
      event: 'started';
      /** First round to compute; > 0 after a resume. */
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
      /** Before clipping. */
      gradientNorm: number;
      /** 1 = not clipped. */
      clipScale: number;
      learningRate: number;
      roundMs: number;
      /** Over the last few seconds. */
      charsPerSecond: number;
      etaMs: number;
      /** That had joined and were ready. */
      workers: number;
      timing?: RoundTiming;
    }
  | { event: 'evaluation'; round: number; validationLoss: number; characters: number; best: boolean }
  | { event: 'sample'; round: number; text: string }
  | { event: 'checkpoint'; round: number; path: string; best: boolean }
  /** Something out of the ordinary and what was done about it: a lease dealt anew, a worker that is late. */
  | { event: 'decision'; round: number; text: string; decision: Decision }
  /** A person steered the run. */
  | { event: 'control'; round: number; text: string }
  /** The run stands still, and why. */
  | { event: 'waiting'; reason: string }
  | { event: 'note'; level: 'info' | 'warn'; text: string; remedy?: string }
  | {
      event: 'finished';
      round: number;
      reason: 'completed' | 'stopped';
      checkpoint: string;
      bestCheckpoint?: string;
      validationLoss?: number;
    }
  | { event: 'error'; code: string; message: string; remedy: string };
