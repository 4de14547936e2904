/**
 * What thin links leave of workers: the production code on a simulated clock, with models as large as people train. Engines take their time
 * and compute nothing.
 */
import { modelConfig } from '@troupe/config';
import { createVocabulary, splitCorpus } from '@troupe/corpus';
import type { TrainingConfig } from '@troupe/protocol';
import { decisionText } from '@troupe/run';
import type { Decision } from '@troupe/scheduler';
import { createPreparedEngine } from './engine.js';
import { createSimulation, type Simulation } from './simulation.js';
import { BY_SPEED, type Text } from './training.js';

/** Bandwidths are in Mbit/s, and latencies one way. */
export interface LinkPlan {
  readonly workers: number;
  readonly upMbit: number;
  readonly downMbit: number;
  /** Of the coordinator, in each direction. */
  readonly hubMbit: number;
  readonly latencyMs: number;
  readonly layers: number;
  readonly hidden: number;
  readonly window: number;
  /** Streams of a worker, or of each of its tracks. */
  readonly streams: number;
  /** What a worker takes for one window of so many streams, ms. */
  readonly windowMs: number;
  /** 1: exact rounds. */
  readonly localSteps: number;
  /** Of a worker, in local rounds. */
  readonly tracks: number;
  readonly codec: TrainingConfig['codec'];
  readonly optimizer: 'adam' | 'sgd';
  /** Rounds that are measured, after so many others: the first ones measure the workers. */
  readonly rounds: number;
  readonly warmup: number;
}

type Advice = Extract<Decision, { kind: 'thinLinks' }>;

export interface LinkFigures {
  /** Part of the time in which engines compute, the mean over workers. */
  readonly utilisation: number;
  readonly rounds: number;
  /** Simulated time of a round. */
  readonly roundMs: number;
  /** Of a worker in a round. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Of the text, in a round of all workers. */
  readonly characters: number;
  /** What the coordinator recommends, if it has seen enough rounds. */
  readonly advice: Advice | undefined;
}

/** A plan whose round has another kind, and as many characters of each worker in a window. */
type RoundKind = Pick<LinkPlan, 'localSteps' | 'tracks' | 'codec' | 'optimizer' | 'rounds' | 'warmup'>;

const EXACT: RoundKind = { localSteps: 1, tracks: 1, codec: 'fp16', optimizer: 'adam', rounds: 3, warmup: 25 };
/** The third round is dealt by measured speeds. The steps of tracks are taken in earnest, and those of `sgd` take the least real time. */
const LOCAL: RoundKind = { ...EXACT, codec: 'int8-both', optimizer: 'sgd', rounds: 1, warmup: 2 };

/** What is compared. */
export const ROUND_KINDS: readonly RoundKind[] = [EXACT, { ...LOCAL, localSteps: 32 }, { ...LOCAL, localSteps: 50 }];

/** 2x512 on the home lines of twenty people, who compute in a browser: 0.44 s for 16 streams of 64 characters with `wasm`. */
export const HOME_LINKS: LinkPlan = {
  ...{ workers: 20, upMbit: 20, downMbit: 100, hubMbit: 1_000, latencyMs: 40 },
  ...{ layers: 2, hidden: 512, window: 64, streams: 16, windowMs: 440 },
  ...EXACT,
};

const BYTES_PER_MS_OF_MBIT = 125;
const LONGEST_STEPS = 128;
const ALPHABET = Array.from({ length: 65 }, (_, i) => String.fromCodePoint(58 + i)).join('');

export async function simulateLinks(plan: LinkPlan): Promise<LinkFigures> {
  const config = configOf(plan);
  const coordinator = { up: plan.hubMbit * BYTES_PER_MS_OF_MBIT, down: plan.hubMbit * BYTES_PER_MS_OF_MBIT };
  const worker = { up: plan.upMbit * BYTES_PER_MS_OF_MBIT, down: plan.downMbit * BYTES_PER_MS_OF_MBIT };
  const charsPerSecond = (plan.streams * plan.window * 1_000) / plan.windowMs;
  const simulation = createSimulation({
    seed: 1,
    config,
    workers: Array.from({ length: plan.workers }, () => charsPerSecond),
    direct: false,
    cadences: { evaluateEvery: 0, checkpointEvery: 0, sampleEvery: 0 },
    latencyMs: [plan.latencyMs, plan.latencyMs],
    linesOf: (name) => (name === 'coordinator' ? coordinator : worker),
    text: textOf(config),
    // The first round may be that of the first worker alone.
    longestRoundMs: 60_000 + (3_000 * config.streams * config.window * config.localSteps) / charsPerSecond,
    createEngine: createPreparedEngine,
  });
  simulation.boot();
  await reach(simulation, plan.warmup);
  const before = trafficOf(simulation);
  await reach(simulation, plan.warmup + plan.rounds);
  const after = trafficOf(simulation);
  await simulation.finish();
  return figuresOf(simulation, plan, config, { before, after });
}

/** Waits for the end of a round, and for nothing else: the figures of the next one begin there. */
function reach(simulation: Simulation, rounds: number): Promise<void> {
  return simulation.until(`round ${rounds}`, () => simulation.commits.length >= rounds);
}

function configOf(plan: LinkPlan): TrainingConfig {
  const { workers, streams, window, layers, hidden, localSteps, codec } = plan;
  const isLocal = localSteps > 1;
  const tracks = isLocal ? workers * plan.tracks : 0;
  return {
    ...BY_SPEED,
    ...{ window, localSteps, tracks, codec, streams: streams * (isLocal ? tracks : workers) },
    model: modelConfig({ layers, hidden, vocabulary: ALPHABET.length }),
    rounds: plan.warmup + plan.rounds,
    learningRate: 1e-4,
    ...(plan.optimizer === 'adam' && {
      optimizer: { kind: 'adam', beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0 },
    }),
  };
}

/** As long as local rounds of many steps need it, so that they can be recommended. */
function textOf({ streams, window, localSteps }: TrainingConfig): Text {
  const vocabulary = createVocabulary(ALPHABET);
  const tokens = new Uint8Array(2 * streams * window * Math.max(localSteps, LONGEST_STEPS)).map((_, i) => i % vocabulary.size);
  const corpus = { name: 'letters', sha256: '0'.repeat(64), characters: tokens.length, trainFraction: 0.9 };
  return { vocabulary, corpus, split: splitCorpus(tokens, corpus.trainFraction) };
}

/** Of all workers. */
function trafficOf({ network, workers }: Simulation): { readonly sentBytes: number; readonly receivedBytes: number } {
  const all = workers.map(({ name }) => network.trafficOf(name));
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  return {
    sentBytes: sum(all.map(({ sentBytes }) => sentBytes)),
    receivedBytes: sum(all.map(({ receivedBytes }) => receivedBytes)),
  };
}

type TrafficAt = Readonly<Record<'before' | 'after', ReturnType<typeof trafficOf>>>;

function figuresOf(simulation: Simulation, plan: LinkPlan, config: TrainingConfig, { before, after }: TrafficAt): LinkFigures {
  const { rounds, warmup, workers } = plan;
  const [first, last] = [warmup, warmup + rounds].map((round) => simulation.commits[round - 1][1]);
  // A worker counts rounds from 0: the one of this number begins when as many are committed.
  const measured = simulation.workers.flatMap(({ logs }) =>
    logs.flatMap((log) => (log.kind === 'computed' && log.round >= warmup && log.round < warmup + rounds ? [log.computeMs] : [])),
  );
  const perRound = (key: 'sentBytes' | 'receivedBytes'): number => (after[key] - before[key]) / (rounds * workers);
  return {
    utilisation: measured.reduce((sum, ms) => sum + ms, 0) / (workers * (last - first)),
    rounds,
    roundMs: (last - first) / rounds,
    sentBytes: perRound('sentBytes'),
    receivedBytes: perRound('receivedBytes'),
    characters: config.streams * config.window * config.localSteps,
    advice: adviceIn(simulation),
  };
}

function adviceIn({ coordinator }: Simulation): Advice | undefined {
  const decisions = coordinator.events.flatMap((event) => (event.event === 'decision' ? [event.decision] : []));
  return decisions.find((decision): decision is Advice => decision.kind === 'thinLinks');
}

/** "upMbit=10,localSteps=64". @throws Error for a name that is no part of a plan, and for a value that is no number where one is needed */
export function readPlan(text: string): Partial<LinkPlan> {
  const entries = text
    .split(',')
    .filter(Boolean)
    .map((part) => part.split('='));
  return Object.fromEntries(entries.map(([name, value = '']) => [name, planValue(name, value)]));
}

function planValue(name: string, value: string): string | number {
  const known = HOME_LINKS[name as keyof LinkPlan] as string | number | undefined;
  const names = Object.keys(HOME_LINKS).join(', ');
  if (known === undefined) throw new Error(`"${name}" is no part of a plan. The parts are ${names}.`);
  if (typeof known === 'string') return value;
  if (!(Number(value) > 0 || (name === 'latencyMs' && Number(value) === 0)) || value === '')
    throw new Error(`${name} must be a number above 0, not "${value}".`);
  return Number(value);
}

export interface LinksOptions {
  readonly plan: Partial<LinkPlan>;
  readonly json: boolean;
  print(line: string): void;
}

/** Prints what each kind of round leaves of workers, or only the kind that the plan names. @returns 0 */
export async function playLinks({ plan, json, print }: LinksOptions): Promise<number> {
  const kinds = plan.localSteps === undefined ? ROUND_KINDS : [plan.localSteps > 1 ? LOCAL : EXACT];
  const { workers, layers, hidden, upMbit, downMbit, latencyMs, hubMbit, windowMs, streams, window } = { ...HOME_LINKS, ...plan };
  if (!json) {
    print(
      `${workers} workers with ${layers}x${hidden} on lines of ${upMbit} Mbit/s up, ${downMbit} down and ${latencyMs} ms, ` +
        `a coordinator on ${hubMbit} Mbit/s; an engine takes ${windowMs} ms for ${streams} streams of ${window} characters`,
    );
    print(COLUMNS.map(({ title }) => title.padStart(WIDTH)).join(''));
  }
  for (const kind of kinds) {
    const whole: LinkPlan = { ...HOME_LINKS, ...kind, ...plan };
    const figures = await simulateLinks(whole);
    if (json) print(JSON.stringify({ plan: whole, figures }));
    else print(COLUMNS.map(({ cell }) => cell(whole, figures).padStart(WIDTH)).join(''));
    if (!json && figures.advice) print(`  the coordinator says: ${decisionText(figures.advice)}`);
  }
  return 0;
}

const WIDTH = 18;
const mb = (bytes: number): string => (bytes / 1e6).toFixed(2);
const COLUMNS: readonly { readonly title: string; cell(plan: LinkPlan, figures: LinkFigures): string }[] = [
  { title: 'local steps', cell: ({ localSteps }) => (localSteps > 1 ? String(localSteps) : 'exact') },
  { title: 'tracks a worker', cell: ({ localSteps, tracks }) => (localSteps > 1 ? String(tracks) : '-') },
  { title: 'codec', cell: ({ codec }) => codec },
  { title: 'utilisation', cell: (_, { utilisation }) => `${(100 * utilisation).toFixed(1)} %` },
  { title: 'rounds', cell: (_, { rounds }) => String(rounds) },
  { title: 'a round, s', cell: (_, { roundMs }) => (roundMs / 1_000).toFixed(2) },
  { title: 'sent, MB/round', cell: (_, { sentBytes }) => mb(sentBytes) },
  { title: 'received, MB', cell: (_, { receivedBytes }) => mb(receivedBytes) },
  { title: 'chars/s, all', cell: (_, { characters, roundMs }) => ((characters * 1_000) / roundMs).toFixed(0) },
];
