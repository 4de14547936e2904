/** `--notify URL`: tells a chat or a program what becomes of a run. No round waits for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { RunReturns } from '@troupe/conductor';
import type { RunEvent, Symptoms } from '@troupe/run';
import type { Report } from '../reporter.js';
import { Notices } from './notices.js';
import { createSender } from './sender.js';

const TICK_MS = 5_000;
/** The end of the run is told before the process ends, if that is possible. */
const GRACE_MS = 10_000;

export interface Notifier {
  hear(event: RunEvent): void;
  /** Tells what ended the run, once: its pages may stay open for long. */
  failed(error: Error): void;
  /** Looks after a run until it has ended, tells how that was, and passes its failure on. */
  attend(run: () => Promise<void>, symptoms: () => Symptoms): Promise<void>;
}

export interface NotifierOptions {
  readonly url: URL;
  readonly runId: string;
  readonly name: string | undefined;
  readonly report: Report;
  /** Aborted: somebody stops the run, which is no failure. */
  readonly signal: AbortSignal;
}

export function createNotifier({ url, runId, name, report, signal }: NotifierOptions): Notifier {
  const sender = createSender({
    ...{ url, fetch, nowMs: () => performance.now() },
    sleep: (ms, until) => sleep(ms, undefined, { signal: until }),
    onFailed: (text) => report({ event: 'note', level: 'warn', text, remedy: 'Check the URL of --notify.' }),
  });
  const notices = new Notices({ runId, name, now: Date.now, send: (notice) => sender.post(notice) });
  return {
    hear: (event) => notices.hear(event),
    failed: (error) => notices.failed(error),
    async attend(run, symptoms) {
      const timer = setInterval(() => notices.tick(symptoms()), TICK_MS);
      timer.unref();
      try {
        await run();
      } catch (error) {
        // A run that goes back goes on.
        if (!signal.aborted && !(error instanceof RunReturns)) notices.failed(error as Error);
        throw error;
      } finally {
        clearInterval(timer);
        await sender.close(GRACE_MS);
      }
    },
  };
}
