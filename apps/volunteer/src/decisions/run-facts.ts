/** What the coordinator tells about its run at /api/run. It came from outside: fields of another shape are as good as absent. */
import { printableLines } from '@troupe/protocol/text';

export type Point = readonly [round: number, nats: number];

export interface RunFacts {
  readonly name: string | undefined;
  readonly organizer: string | undefined;
  /** In words. */
  readonly model: string | undefined;
  readonly corpus: string | undefined;
  readonly parameters: number | undefined;
  /** Bytes of a gradient's element on the wire. */
  readonly elementBytes: number;
  readonly round: number | undefined;
  readonly rounds: number | undefined;
  readonly workers: number | undefined;
  readonly phase: RunPhase | undefined;
  /** What the last round took. */
  readonly roundMs: number | undefined;
  /** Mean loss of training, nats per character, by round, ascending. */
  readonly losses: readonly Point[];
  readonly validation: readonly Point[];
  /** What the model writes now. */
  readonly sample: { readonly round: number | undefined; readonly text: string } | undefined;
}

/** Of the phases that a run has, those of which a volunteer should know. */
export type RunPhase = 'paused' | 'waiting' | 'over';

const PHASES: readonly RunPhase[] = ['paused', 'waiting', 'over'];
const MAX_WORDS = 200;
const MAX_SAMPLE = 4_000;
const MAX_POINTS = 2_000;

/** @returns undefined for what is no object at all */
export function readRunFacts(json: unknown): RunFacts | undefined {
  if (!isRecord(json)) return undefined;
  return {
    name: words(json.name),
    organizer: words(json.organizer),
    model: words(json.model),
    corpus: words(isRecord(json.corpus) ? json.corpus.name : json.corpus),
    parameters: whole(json.parameters),
    elementBytes: json.codec === 'fp32' ? 4 : 2,
    round: whole(json.round),
    rounds: whole(json.rounds),
    workers: whole(json.workerCount) ?? whole(json.workers),
    phase: PHASES.find((phase) => phase === json.phase),
    roundMs: roundMs(json.latest),
    losses: points(json.lossHistory),
    validation: points(json.validation),
    sample: sampleOf(json.sample),
  };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Text goes into the page as text, never as markup; characters that steer terminals or the direction of writing stay out of it. */
function words(value: unknown, most = MAX_WORDS): string | undefined {
  if (typeof value !== 'string') return undefined;
  const text = printableLines(value).trim();
  return text === '' ? undefined : text.slice(0, most);
}

/** Where a round's time went adds up to it. */
function roundMs(latest: unknown): number | undefined {
  if (!isRecord(latest)) return undefined;
  const parts = [latest.computeMs, latest.transferMs, latest.reduceMs, latest.waitingMs];
  const sum = parts.reduce<number>((total, part) => total + (typeof part === 'number' ? part : NaN), 0);
  return sum > 0 && Number.isFinite(sum) ? sum : undefined;
}

function whole(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function points(value: unknown): Point[] {
  if (!Array.isArray(value)) return [];
  const found: Point[] = [];
  for (const point of value.slice(-MAX_POINTS) as unknown[]) {
    if (!Array.isArray(point)) continue;
    const [round, nats] = point as unknown[];
    const last = found.at(-1)?.[0] ?? -1;
    if (whole(round) === undefined || typeof nats !== 'number' || !Number.isFinite(nats)) continue;
    if ((round as number) > last) found.push([round as number, nats]);
  }
  return found;
}

function sampleOf(value: unknown): RunFacts['sample'] {
  if (!isRecord(value)) return undefined;
  const text = words(value.text, MAX_SAMPLE);
  return text === undefined ? undefined : { round: whole(value.round), text };
}
