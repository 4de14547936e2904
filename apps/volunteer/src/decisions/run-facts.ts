/** What the coordinator says of its run at /api/run. The answer is not trusted: a field of another shape counts as absent. */
import { CELLS, stateSize } from '@troupe/model';
import { CODED_BYTES, isLocal } from '@troupe/protocol';
import { printableLines } from '@troupe/protocol/text';
import { optimizerSlotsOf, type Exchange } from '@troupe/run';

export type Point = readonly [round: number, nats: number];

export interface RunFacts {
  readonly runId: string | undefined;
  readonly name: string | undefined;
  readonly organizer: string | undefined;
  readonly model: string | undefined;
  readonly corpus: string | undefined;
  readonly parameters: number | undefined;
  readonly exchange: Exchange;
  readonly round: number | undefined;
  readonly rounds: number | undefined;
  /** Characters that all workers together compute in a round. */
  readonly roundCharacters: number | undefined;
  /** Rounds of another size with which the run began, and the characters of all of them. */
  readonly earlier: { readonly rounds: number; readonly characters: number };
  readonly workers: number | undefined;
  readonly phase: RunPhase | undefined;
  /** Time of the last round. */
  readonly roundMs: number | undefined;
  /** Mean training loss by round, ascending; nats per character. */
  readonly losses: readonly Point[];
  readonly validation: readonly Point[];
  /** The loss of a model that gives every character the same probability: ln V, nats per character. */
  readonly chance: number | undefined;
  /** The latest text that the model wrote. */
  readonly sample: { readonly round: number | undefined; readonly text: string } | undefined;
}

/** Those phases of a run that a volunteer should know of. */
export type RunPhase = 'paused' | 'waiting' | 'over';

const PHASES: readonly RunPhase[] = ['paused', 'waiting', 'over'];
const CODECS: ReadonlyMap<unknown, { readonly up: number; readonly down: number }> = new Map(Object.entries(CODED_BYTES));
/** Of a run that has not said more. */
export const USUAL_EXCHANGE: Exchange = {
  ...codedBytes('fp16'),
  ...{ streams: 0, window: 0, localSteps: 1, leases: undefined, stateFloats: 0, optimizerSlots: optimizerSlotsOf('adam', 1) },
};
const MAX_WORDS = 200;
const MAX_SAMPLE = 4_000;
const MAX_POINTS = 2_000;

/** @returns undefined when `json` is not an object */
export function readRunFacts(json: unknown): RunFacts | undefined {
  if (!isRecord(json)) return undefined;
  const exchange = exchangeOf(json);
  return {
    exchange,
    runId: words(json.runId),
    name: words(json.name),
    organizer: words(json.organizer),
    model: words(json.model),
    corpus: words(isRecord(json.corpus) ? json.corpus.name : json.corpus),
    parameters: whole(json.parameters),
    round: whole(json.round),
    rounds: whole(json.rounds),
    roundCharacters: exchange.streams * exchange.window * exchange.localSteps || undefined,
    earlier: earlierOf(json.config, exchange),
    workers: whole(json.workerCount) ?? whole(json.workers),
    phase: PHASES.find((phase) => phase === json.phase),
    roundMs: roundMs(json.latest),
    losses: points(json.lossHistory),
    validation: points(json.validation),
    chance: chanceOf(json.config),
    sample: sampleOf(json.sample),
  };
}

function earlierOf(config: unknown, { streams, window }: Exchange): RunFacts['earlier'] {
  const { changedRound, changedWindow } = isRecord(config) ? config : {};
  return { rounds: whole(changedRound) ?? 0, characters: (whole(changedWindow) ?? 0) * streams * window };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The page shows it as text, never as markup. Characters that control terminals or the writing direction are replaced. */
function words(value: unknown, most = MAX_WORDS): string | undefined {
  if (typeof value !== 'string') return undefined;
  const text = printableLines(value).trim();
  return text === '' ? undefined : text.slice(0, most);
}

/** The parts of a round's time add up to it. */
function roundMs(latest: unknown): number | undefined {
  if (!isRecord(latest)) return undefined;
  const parts = [latest.computeMs, latest.transferMs, latest.reduceMs, latest.waitingMs];
  const sum = parts.reduce<number>((total, part) => total + (typeof part === 'number' ? part : NaN), 0);
  return sum > 0 && Number.isFinite(sum) ? sum : undefined;
}

function chanceOf(config: unknown): number | undefined {
  const vocabulary = isRecord(config) && isRecord(config.model) ? whole(config.model.vocabulary) : undefined;
  return vocabulary === undefined || vocabulary < 2 ? undefined : Math.log(vocabulary);
}

function whole(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function exchangeOf(json: Readonly<Record<string, unknown>>): Exchange {
  const config = isRecord(json.config) ? json.config : {};
  const streams = whole(json.streams) ?? 0;
  const localSteps = Math.max(1, whole(config.localSteps) ?? 1);
  // A track is a lease of its own, and so is a work unit of a reproducible run.
  const leaseStreams = whole(config.leaseStreams) ?? 0;
  const leases = isLocal({ localSteps })
    ? whole(config.tracks)
    : leaseStreams > 0
      ? Math.ceil(streams / leaseStreams)
      : undefined;
  return {
    ...codedBytes(json.codec),
    ...{ streams, window: whole(json.window) ?? 0, localSteps, leases, stateFloats: stateFloatsOf(config.model) },
    optimizerSlots: optimizerSlotsOf(isRecord(config.optimizer) ? config.optimizer.kind : undefined, localSteps),
  };
}

function codedBytes(codec: unknown): Pick<Exchange, 'upBytes' | 'downBytes'> {
  const { up, down } = CODECS.get(codec) ?? CODED_BYTES.fp16;
  return { upBytes: up, downBytes: down };
}

function stateFloatsOf(model: unknown): number {
  if (!isRecord(model)) return 0;
  const cell = CELLS.find((name) => name === model.cell);
  return cell ? stateSize({ cell, layers: whole(model.layers) ?? 0, hidden: whole(model.hidden) ?? 0 }) : 0;
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
