/** How much traffic taking part costs: an estimate from the settings of the run and the speed of its rounds. */
import { joinBytes, roundTraffic, type Exchange, type RoundTraffic } from '@troupe/run';
import type { RunFacts } from './run-facts.js';

export interface TrafficFacts {
  readonly parameters: number;
  readonly exchange: Exchange;
  /** Workers that share a round, this one among them. */
  readonly workers: number;
  /** Undefined while nothing says how long a round takes. */
  readonly pace: RoundPace | undefined;
  /** The volunteer's limit in each direction, Mbit/s; 0: none. */
  readonly rateMbit: number;
}

/** How long a round takes: measured in this run, or assumed for a device like this one. */
export interface RoundPace {
  readonly roundMs: number;
  readonly basis: 'run' | 'device';
}

/** Of a round; */
export interface TrafficEstimate extends RoundTraffic {
  /** on joining; */
  readonly joinBytes: number;
  /** and of an hour. */
  readonly hour: { readonly bytes: number; readonly basis: RoundPace['basis'] } | undefined;
}

const HOUR_MS = 3_600_000;

export function estimateTraffic(facts: TrafficFacts): TrafficEstimate {
  const { parameters, exchange, workers } = facts;
  const round = roundTraffic(parameters, exchange, workers);
  return { ...round, joinBytes: joinBytes(parameters, exchange), hour: hourTraffic(round, facts) };
}

/** A round that a limit makes longer costs the same. */
function hourTraffic({ sentBytes, receivedBytes }: RoundTraffic, { pace, rateMbit }: TrafficFacts): TrafficEstimate['hour'] {
  if (pace === undefined) return undefined;
  const linkMs = rateMbit > 0 ? (Math.max(sentBytes, receivedBytes) * 8) / (rateMbit * 1e3) : 0;
  const rounds = HOUR_MS / Math.max(pace.roundMs, linkMs);
  return { bytes: (sentBytes + receivedBytes) * rounds, basis: pace.basis };
}

/** Above this many bytes an hour, the volunteer is asked. */
const MUCH_BYTES = 1e9;

export function needsConsent(estimate: TrafficEstimate | undefined): boolean {
  return (estimate?.hour?.bytes ?? 0) > MUCH_BYTES;
}

/** What engines of browsers reach, in operations a second; the real figure comes with the first rounds. */
const FLOPS = { handheld: 10e9, other: 40e9 };
/** Training takes about this many operations for a parameter and a character: a third of them forward. */
const OPERATIONS = 6;
/** However fast the device: links and the service take some time. */
const SHORTEST_MS = 5;

export interface AssumedSpeed {
  readonly isHandheld: boolean;
  /** Of the device, 0.1 to 1. */
  readonly share: number;
  /** What its engine has measured for this model, chars/s; undefined: nothing yet. */
  readonly charsPerSecond: number | undefined;
}

/** How long a round would take if all of `workers` were devices like this. @returns undefined while nobody has said how large a round is */
export function assumedRoundMs(
  { roundCharacters }: Pick<RunFacts, 'roundCharacters'>,
  parameters: number,
  workers: number,
  { isHandheld, share, charsPerSecond }: AssumedSpeed,
): number | undefined {
  if (!roundCharacters) return undefined;
  const flops = (isHandheld ? FLOPS.handheld : FLOPS.other) * share;
  const speed = charsPerSecond ?? flops / (OPERATIONS * Math.max(1, parameters));
  return Math.max(SHORTEST_MS, (roundCharacters * 1000) / (speed * workers));
}
