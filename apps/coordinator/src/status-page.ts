/** What the run is doing, as plain text for a browser, until there is a dashboard; it holds no secret and takes no orders. */
import type { ServerResponse } from 'node:http';
import type { RunEvent } from '@troupe/run';
import { describe, type Report } from './reporter.js';

/** Shown on the page, the latest of each; the rest scrolls by on the terminal. */
const SHOWN = ['started', 'waiting', 'round', 'evaluation', 'checkpoint', 'sample', 'finished'] as const;
const REFRESH_S = 5;

export interface StatusPage {
  /** Takes note of an event and passes it on. */
  readonly report: Report;
  answer(path: string, response: ServerResponse): void;
}

export function createStatusPage(report: Report): StatusPage {
  const latest = new Map<RunEvent['event'], RunEvent>();
  return {
    report(event) {
      latest.set(event.event, event);
      if (event.event === 'round') latest.delete('waiting');
      report(event);
    },
    answer(path, response) {
      if (path !== '/') {
        response.writeHead(404, { 'content-type': 'text/plain; charset=utf-8' });
        response.end('There is only / here, /control for workers and /reduce for their gradients.\n');
        return;
      }
      response.writeHead(200, {
        'content-type': 'text/plain; charset=utf-8',
        refresh: String(REFRESH_S),
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      });
      const lines = SHOWN.flatMap((kind) => {
        const event = latest.get(kind);
        return event ? describe(event) : [];
      });
      response.end(
        ['This is a Troupe coordinator.', '', ...(lines.length > 0 ? lines : ['The run is about to start.'])].join('\n') + '\n',
      );
    },
  };
}
