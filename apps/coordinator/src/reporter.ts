/** Run events to standard output: one JSON object a line, or lines for a person. */
import { modelName, type RunEvent } from '@troupe/run';

export type Report = (event: RunEvent) => void;

export function createReporter(json: boolean, write: (line: string) => void): Report {
  if (json) return (event) => write(JSON.stringify(event));
  let lastRoundMs = -Infinity;
  return (event) => {
    // A line a round would scroll everything else away.
    if (event.event === 'round') {
      const nowMs = performance.now();
      if (nowMs - lastRoundMs < 2000 && event.round < event.rounds) return;
      lastRoundMs = nowMs;
    }
    for (const line of describe(event)) write(line);
  };
}

const MINUTE_MS = 60_000;
const MOST_REFUSALS = 30;

/** Strangers who keep knocking fill neither log nor disk: so many refusals a minute are told, and of the rest their number. */
export function withoutFloods(report: Report, nowMs: () => number): Report {
  let [beganMs, told, more] = [-Infinity, 0, 0];
  return (event) => {
    const now = nowMs();
    if (now - beganMs >= MINUTE_MS || event.event === 'finished') {
      if (more > 0) report({ event: 'note', level: 'warn', text: `${number(more)} more were refused` });
      [beganMs, told, more] = [now, 0, 0];
    }
    if (event.event === 'worker' && event.change === 'refused' && ++told > MOST_REFUSALS) more++;
    else report(event);
  };
}

const number = (value: number): string => Math.round(value).toLocaleString('en');

/** Lines for a person. */
export function describe(event: RunEvent): string[] {
  switch (event.event) {
    case 'listening':
      return [
        `listening on ${event.address}, checkpoints in ${event.out}`,
        `to join from another machine: ${event.joinCommand}`,
        ...(event.volunteer === undefined ? [] : [`to join from a browser: ${event.volunteer}`]),
        ...(event.dashboard === undefined ? [] : [`to watch and steer: ${event.dashboard}`]),
      ];
    case 'started': {
      const { model, streams, window, rounds } = event.config;
      const { name, train, validation } = event.corpus;
      return [
        `training ${modelName(model)} (${number(event.parameters)} parameters) on ${name}: ` +
          `${number(train)} characters to train on, ${number(validation)} to validate; ${streams} streams x ${window}, rounds ${event.round} to ${rounds}`,
      ];
    }
    case 'worker':
      return [`worker ${event.name} (${event.workerId}) ${event.change}: ${event.reason} (${event.workers} at work)`];
    case 'round':
      return [
        `round ${event.round}/${event.rounds}  train ${event.trainLoss.toFixed(4)} nats/char  |g| ${event.gradientNorm.toFixed(3)}` +
          `${event.clipScale < 1 ? ' clipped' : ''}  ${number(event.charsPerSecond)} chars/s  ETA ${Math.ceil(event.etaMs / 1000)} s`,
      ];
    case 'evaluation':
      return [
        `round ${event.round}  validation ${event.validationLoss.toFixed(4)} nats/char${event.best ? ' (best so far)' : ''}`,
      ];
    case 'sample':
      return [`--- sample at round ${event.round}`, event.text, '---'];
    case 'checkpoint':
      return [`saved ${event.path}`];
    case 'control':
    case 'decision':
      return [`round ${event.round}: ${event.text}`];
    case 'waiting':
      return [`waiting: ${event.reason}`];
    case 'note':
      return [event.text, ...(event.remedy ? [event.remedy] : [])];
    case 'finished':
      return [`${event.reason} at round ${event.round}; checkpoint ${event.checkpoint}`];
    case 'error':
      return [event.message, event.remedy];
    default:
      return event satisfies never;
  }
}
