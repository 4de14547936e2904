/** Writes run events as text: one JSON object a line, or lines for a person. */
import { isLocal, modelName } from '@troupe/config';
import { createFloodLimit } from '@troupe/process';
import { isWarnedOf, type RunEvent } from '@troupe/run';

/** Between two lines that say how far a local round is. */
const PROGRESS_MS = 10_000;

export type Report = (event: RunEvent) => void;

export function createReporter(json: boolean, write: (line: string) => void): Report {
  if (json) return (event) => write(JSON.stringify(event));
  let lastRoundMs = -Infinity;
  let lastProgressMs = -Infinity;
  let norm: Norm = '|g|';
  return (event) => {
    const nowMs = performance.now();
    // One line per round would hide everything else.
    if (event.event === 'round') {
      if (nowMs - lastRoundMs < 2000 && event.round < event.rounds) return;
      lastRoundMs = nowMs;
    }
    if (event.event === 'progress') {
      if (nowMs - Math.max(lastProgressMs, lastRoundMs) < PROGRESS_MS) return;
      lastProgressMs = nowMs;
    }
    if (event.event === 'started') norm = isLocal(event.config) ? '|D|' : '|g|';
    for (const line of describe(event, norm)) write(line);
  };
}

/** Events that peers can trigger: how many are reported a minute, and the name of the rest. */
const FLOODS = {
  refusals: { most: 30, called: 'more refused connections' },
  changes: { most: 1_000, called: 'more changes of workers' },
  decisions: { most: 1_000, called: 'more decisions' },
  troubles: { most: 30, called: 'more warnings about links and requests' },
} as const;

type Flood = keyof typeof FLOODS;

/** Limits events that peers can trigger, so that they fill neither log nor disk. Of further ones it reports the number. */
export function withoutFloods(report: Report, nowMs: () => number): Report {
  return limited(report, nowMs, (event) => {
    if (event.event === 'worker') return event.change === 'refused' ? 'refusals' : 'changes';
    return event.event === 'decision' ? 'decisions' : undefined;
  });
}

/** Limits warnings about links and requests of peers. Reports of the run itself must not use it: they could get lost among them. */
export function ofOthers(report: Report, nowMs: () => number): Report {
  return limited(report, nowMs, () => 'troubles');
}

function limited(report: Report, nowMs: () => number, floodOf: (event: RunEvent) => Flood | undefined): Report {
  const limit = createFloodLimit<Flood>({
    nowMs,
    mostOf: (flood) => FLOODS[flood].most,
    onMore: (flood, count) => report({ event: 'note', level: 'warn', text: `${number(count)} ${FLOODS[flood].called}` }),
  });
  return (event) => {
    limit.renew(event.event === 'finished');
    const flood = floodOf(event);
    if (flood === undefined || limit.passes(flood)) report(event);
  };
}

const number = (value: number): string => Math.round(value).toLocaleString('en');

/** Of the mean gradient, or in a local run of the mean difference of the parameters. */
type Norm = '|g|' | '|D|';

/** Lines for a person. */
export function describe(event: RunEvent, norm: Norm = '|g|'): string[] {
  switch (event.event) {
    case 'listening':
      return [
        `listening on ${event.address}, checkpoints in ${event.out}`,
        event.isLoopback
          ? `to join from this machine (others need --host 0.0.0.0): ${event.joinCommand}`
          : `to join from another machine: ${event.joinCommand}`,
        ...(event.volunteer === undefined ? [] : [`to join from a browser: ${event.volunteer}`]),
        ...(event.dashboard === undefined ? [] : [`to watch and control: ${event.dashboard}`]),
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
      return [`worker ${event.name} (${event.workerId}) ${event.change}: ${event.reason} (${event.workers} ready)`];
    case 'round':
      return [
        `round ${event.round}/${event.rounds}  train ${event.trainLoss.toFixed(4)} nats/char  ${norm} ${event.gradientNorm.toFixed(3)}` +
          `${event.clipScale < 1 ? ' clipped' : ''}  ${number(event.charsPerSecond)} chars/s  ETA ${Math.ceil(event.etaMs / 1000)} s`,
      ];
    case 'progress':
      return [`round ${event.round + 1}: ${Math.round(event.fraction * 100)} % computed`];
    case 'evaluation':
      return [`round ${event.round}  validation ${losses(event)}${event.best ? ' (best so far)' : ''}`];
    case 'sample':
      return [`--- sample at round ${event.round}`, event.text, '---'];
    case 'checkpoint':
      return [`saved ${event.path}`];
    case 'credits':
      // For the pages and the history.
      return [];
    case 'decision':
      return isWarnedOf(event.decision) ? [] : [`round ${event.round}: ${event.text}`];
    case 'control':
      return [`round ${event.round}: ${event.text}`];
    case 'waiting':
      return [`waiting: ${event.reason}`];
    case 'note':
      return [event.text, ...(event.remedy ? [event.remedy] : [])];
    case 'finished':
      return [`${event.reason} at round ${event.round}; checkpoint ${event.checkpoint}`, ...validations(event)];
    case 'serving':
      return [
        'the run is finished; its pages stay open until you press Ctrl-C',
        `to watch it: ${event.dashboard}`,
        `for volunteers: ${event.volunteer}`,
      ];
    case 'error':
      return [event.message, event.remedy];
    default:
      return event satisfies never;
  }
}

/** "1.4712 nats/char", or "1.4712 nats/char, with averaged parameters 1.4101". */
function losses({
  validationLoss,
  averageLoss,
}: {
  readonly validationLoss: number;
  readonly averageLoss?: number | undefined;
}): string {
  const average = averageLoss === undefined ? '' : `, with averaged parameters ${averageLoss.toFixed(4)}`;
  return `${validationLoss.toFixed(4)} nats/char${average}`;
}

/** The validation of the last round and that of the best model, which may be an earlier one. */
function validations(event: Extract<RunEvent, { event: 'finished' }>): string[] {
  const { validationLoss, averageLoss, bestCheckpoint, bestRound, bestValidationLoss, bestIsAverage } = event;
  const last = validationLoss === undefined ? [] : [`validation of the last round: ${losses({ validationLoss, averageLoss })}`];
  if (bestValidationLoss === undefined) return last;
  return [
    ...last,
    `best validation: ${bestValidationLoss.toFixed(4)} nats/char after round ${bestRound}${bestIsAverage ? ' with averaged parameters' : ''}, in ${bestCheckpoint}`,
  ];
}
