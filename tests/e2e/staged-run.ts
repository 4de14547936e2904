/**
 * A coordinator as its pages see it, in any state of a run. It serves the built pages with their headers and answers from a
 * description, so that states that take a real run minutes, or a broken model, are there at once.
 */
import fs from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { configFromFlags, parseTrainingConfig } from '@troupe/config';
import {
  createRunHistory,
  POINT_FIELDS,
  type BansView,
  type ControlRequest,
  type CreditsView,
  type EvaluationPoint,
  type GradientFlow,
  type LoggedEvent,
  type PastRun,
  type PointColumns,
  type PointField,
  type RoundPoint,
  type RunHistory,
  type RunFacts,
  type RunView,
  type SamplePoint,
  type WorkerView,
} from '@troupe/run';
import { WebSocketServer } from 'ws';
import { builtPage } from './stage.js';

export type Situation = 'empty' | 'running' | 'paused' | 'waiting' | 'diverged' | 'finished' | 'resumed';

export interface StagedRun {
  readonly origin: string;
  /** What the page has asked of /api/control. */
  readonly orders: ControlRequest[];
  close(): Promise<void>;
}

const V = 65;
const ROUNDS = 2_000;
/** A moment in ms since 1970 at which every staged run starts. */
const START = 1_764_000_000_000;
const WINDOW = 64;

export const stagedConfig = (() => {
  const parsed = parseTrainingConfig(configFromFlags((flag) => ({ '--rounds': String(ROUNDS) })[flag], V));
  if (!parsed.ok) throw new Error(JSON.stringify(parsed));
  return parsed.config;
})();

interface Story {
  readonly view: RunView;
  readonly points: PointColumns;
  readonly evaluations: readonly EvaluationPoint[];
  readonly samples: readonly SamplePoint[];
  readonly events: readonly LoggedEvent[];
  readonly flows: readonly GradientFlow[];
  readonly runs: readonly PastRun[];
  readonly facts: RunFacts;
  readonly credits: CreditsView;
}

/** Rounds that are completed in each situation. */
const DONE: Readonly<Record<Situation, number>> = {
  empty: 0,
  running: 1_500,
  paused: 900,
  waiting: 900,
  diverged: 412,
  finished: ROUNDS,
  resumed: 1_200,
};

const PHASES: Readonly<Record<Situation, Pick<RunView, 'phase' | 'phaseReason' | 'pausedBy'>>> = {
  empty: { phase: 'waiting', phaseReason: 'no worker is connected; the run continues when one joins', pausedBy: [] },
  running: { phase: 'running', phaseReason: 'computing', pausedBy: [] },
  paused: {
    phase: 'paused',
    phaseReason: 'paused by admin: open leases still count, no new ones are dealt',
    pausedBy: ['admin'],
  },
  waiting: { phase: 'waiting', phaseReason: 'no worker is connected; the run continues when one joins', pausedBy: [] },
  diverged: {
    phase: 'over',
    phaseReason: 'training became unstable: the loss stayed above 12.52 nats/char for 10 rounds',
    pausedBy: [],
  },
  finished: { phase: 'over', phaseReason: 'all 2,000 rounds are done', pausedBy: [] },
  resumed: { phase: 'running', phaseReason: 'computing', pausedBy: [] },
};

/** A wobble between -1 and 1 that is the same in every run of the tests. */
const wobble = (n: number): number => Math.sin(n * 12.9898) * Math.cos(n * 78.233);

const fallingLoss = (round: number): number => 1.4 + 2.8 * Math.exp(-round / 250);

function lossAt(situation: Situation, round: number): number {
  const steady = fallingLoss(round) * (1 + 0.04 * wobble(round));
  return situation === 'diverged' && round > 380 ? steady + (round - 380) ** 1.5 / 8 : steady;
}

function pointsOf(situation: Situation): PointColumns {
  const round = Array.from({ length: DONE[situation] }, (_, i) => i + 1);
  const columns: Partial<Record<PointField, (round: number) => number>> = {
    round: (n) => n,
    trainLoss: (n) => lossAt(situation, n),
    smoothedLoss: (n) => (situation === 'diverged' ? lossAt(situation, n) : fallingLoss(n)),
    gradientNorm: (n) => 2 + 4 * Math.abs(wobble(n)),
    clipScale: (n) => Math.min(1, 5 / (2 + 4 * Math.abs(wobble(n)))),
    learningRate: (n) => 0.005 * (1 + Math.cos((Math.PI * n) / ROUNDS)),
    roundMs: (n) => 180 + 30 * wobble(n),
    computeMs: (n) => 130 + 20 * wobble(n),
    transferMs: () => 20,
    reduceMs: () => 10,
    waitingMs: () => 20,
    charsPerSecond: (n) => 11_300 + 700 * wobble(n / 50),
    workers: () => 3,
  };
  return Object.fromEntries(POINT_FIELDS.map((field) => [field, round.map(columns[field]!)])) as unknown as PointColumns;
}

function evaluationsOf(situation: Situation): EvaluationPoint[] {
  const rounds = Array.from({ length: Math.floor(DONE[situation] / 100) }, (_, i) => 100 * (i + 1));
  const overfitting = (round: number): number => (situation === 'finished' ? Math.max(0, round - 1_200) / 2_500 : 0);
  return rounds.map((round) => ({ round, validationLoss: fallingLoss(round) * 1.05 + overfitting(round) }));
}

const VERSE = `Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date;
`;

const samplesOf = (situation: Situation): SamplePoint[] =>
  evaluationsOf(situation).map(({ round }) => ({ round, text: `${VERSE}(round ${round})\n`.repeat(1 + (round % 3)) }));

function flowsOf(situation: Situation): GradientFlow[] {
  const layer = Array.from({ length: WINDOW }, (_, i) => Number((0.03 * 0.97 ** i).toPrecision(4)));
  return evaluationsOf(situation).map(({ round }) => ({ round, layers: [layer], state: 'hc' }));
}

function workersOf(situation: Situation): WorkerView[] {
  if (situation === 'empty' || situation === 'waiting' || situation === 'diverged' || situation === 'finished') return [];
  const names = ['local-1', 'a-worker-with-a-name-that-is-as-long-as-names-may-be-0123456789', 'Grace'];
  return names.map((name, i) => ({
    id: `w${i}`,
    name,
    kind: i === 2 ? 'browser' : 'node',
    engine: 'native avx2',
    device: 'cpu, 1 thread',
    charsPerSecond: 4_000,
    streams: 11,
    latencyMs: 12,
    rounds: DONE[situation],
    characters: DONE[situation] * 11 * WINDOW,
    lastSeenMs: 300,
    state: situation === 'paused' ? 'ready' : (['computing', 'late', 'computing'] as const)[i],
    reason: i === 1 ? 'past its deadline, 11 streams are lent again' : '',
  }));
}

function eventsOf(situation: Situation): LoggedEvent[] {
  const texts: readonly (readonly [number, LoggedEvent['kind'], string])[] = [
    [0, 'note', 'the run starts'],
    [0, 'worker', 'local-1 joined'],
    [300, 'checkpoint', 'saved latest.safetensors at round 300'],
    [500, 'control', 'learning rate 0.005'],
    [700, 'worker', 'Grace joined'],
    [800, 'decision', 'paused by admin: open leases still count, no new ones are dealt'],
    [800, 'decision', 'resumed by admin; 32 streams lent to 3 workers'],
    ...(situation === 'resumed' ? ([[1_000, 'note', 'the run continues from round 1000']] as const) : []),
  ];
  const past = texts.filter(([round]) => round <= DONE[situation] && (situation !== 'empty' || round === 0));
  return past.map(([round, kind, text], i) => ({ id: i + 1, at: START + round * 180, round, kind, level: 'info', text }));
}

/** Of a run with many names, one of them as long as names may be. */
function creditsOf(situation: Situation): CreditsView {
  const characters = DONE[situation] * stagedConfig.streams * WINDOW;
  const names = ['Grace Hopper', 'A name that is as long as names may be 0', '参与者', 'Ada', 'Linus', 'Margaret'].map(
    (name, i) => ({
      ...{ name, team: i % 2 === 0 ? 'Room 214' : '', characters: Math.floor((characters * 0.3) / 2 ** i) },
    }),
  );
  const named = DONE[situation] > 0 ? names : [];
  const teams = named.length > 0 ? [{ team: 'Room 214', names: 3, characters: Math.floor(characters * 0.39) }] : [];
  const sum = named.reduce((total, one) => total + one.characters, 0);
  return { characters, anonymous: characters - sum, named: named.length, names: named, teams };
}

function pastRun(folder: string, model: string, situation: Situation, current: boolean): PastRun {
  const { round, smoothedLoss, gradientNorm } = pointsOf(situation);
  const evaluations = evaluationsOf(situation);
  return {
    ...{ runId: folder, name: '', model, config: stagedConfig, corpus: 'sonnets', parameters: 352_321, startedAt: START },
    ...{ folder, round: DONE[situation], rounds: ROUNDS, current, evaluations },
    losses: { round, smoothedLoss, gradientNorm },
    ...(evaluations.length > 0 && { best: evaluations.at(-1)!, flow: flowsOf(situation).at(-1)! }),
  };
}

/** One that only this machine can open, and one for all. */
const joinLinkOf = (situation: Situation): string =>
  `http://${situation === 'waiting' ? '127.0.0.1' : '192.0.2.7'}:7400/join/#token=a-token-of-workers`;

function storyOf(situation: Situation): Story {
  const points = pointsOf(situation);
  const evaluations = evaluationsOf(situation);
  const workers = workersOf(situation);
  const least = evaluations.toSorted((a, b) => a.validationLoss - b.validationLoss)[0];
  const last = points.round.length - 1;
  const latest = Object.fromEntries(POINT_FIELDS.map((field) => [field, points[field][last]])) as unknown as RunView['latest'];
  const view: RunView = {
    ...PHASES[situation],
    ...{ runId: 'staged', name: 'Sonnets', organizer: 'Ada', round: DONE[situation], rounds: ROUNDS, config: stagedConfig },
    ...{ model: '1x256 LSTM', parameters: 352_321, startedAt: START, access: ['read', 'admin'], maxWorkers: 10_000 },
    ...{ workers, workerCount: workers.length, joinLink: joinLinkOf(situation) },
    corpus: { name: 'sonnets', characters: 94_000, train: 84_600, validation: 9_400 },
    ...(situation === 'running' && { etaMs: 95_000 }),
    ...(situation === 'diverged' && { checkpoint: { round: 380, path: 'runs/sonnets/latest.safetensors' } }),
    ...(last >= 0 && { latest: latest! }),
    ...(least && { best: least, validated: evaluations.at(-1)! }),
  };
  const samples = samplesOf(situation);
  const facts: RunFacts = {
    ...{ ...view, access: [], workers: [] },
    lossHistory: points.round.map((round, i) => [round, points.smoothedLoss[i]] as const).filter((_, i) => i % 10 === 0),
    validation: evaluations.map(({ round, validationLoss }) => [round, validationLoss] as const),
    ...(samples.length > 0 && { sample: samples.at(-1)! }),
    ...{ codec: stagedConfig.codec, streams: stagedConfig.streams, window: WINDOW },
  };
  const runs = [pastRun('sonnets', '1x256 LSTM', situation, true), pastRun('sonnets-2', '1x256 tanh RNN', 'running', false)];
  return {
    ...{ view, points, evaluations },
    ...{ facts, credits: creditsOf(situation) },
    ...{ samples, events: eventsOf(situation), flows: flowsOf(situation) },
    runs: situation === 'empty' ? runs.slice(0, 1) : runs,
  };
}

/** What the folder of such a run would tell. */
export function stagedHistory(situation: Situation): RunHistory {
  const { view, points, evaluations, samples, events } = storyOf(situation);
  const { runId, name, model, config, corpus, parameters, startedAt } = view;
  const history = createRunHistory();
  history.add({ type: 'run', run: { runId, name, model, config, corpus: corpus.name, parameters, startedAt } });
  points.round.forEach((_, i) => {
    const point = Object.fromEntries(POINT_FIELDS.map((field) => [field, points[field][i]])) as unknown as RoundPoint;
    history.add({ type: 'round', point });
  });
  for (const evaluation of evaluations) history.add({ type: 'evaluation', evaluation });
  for (const sample of samples) history.add({ type: 'sample', sample });
  for (const event of events) history.add({ type: 'event', event: { ...event, level: 'warn' } });
  return history;
}

/** Serves the pages of a run in this situation until it is closed: the dashboard at /, that of volunteers at /join/. */
export async function stageRun(situation: Situation): Promise<StagedRun> {
  const story = storyOf(situation);
  const orders: ControlRequest[] = [];
  const server = http.createServer((request, response) => void answer(request, response, story, orders));
  const live = new WebSocketServer({ server, path: '/live' });
  live.on('connection', (socket) =>
    socket.once('message', () => {
      const { view, points, events } = story;
      socket.send(JSON.stringify({ type: 'hello', view, lastRound: points.round.at(-1) ?? 0, lastEvent: events.length }));
    }),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    orders,
    async close() {
      for (const socket of live.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

const BANS: BansView = {
  bans: [
    {
      ...{
        id: 'b1',
        at: START,
        by: 'audit',
        address: '2001:db8:85a3:8d3:1319:8a2e:370:7348',
        name: 'volunteer with a long name',
      },
      ...{ refused: true, held: true, reason: 'its gradient is off by 200 % of the norm', tokenId: '0123456789' },
    },
    {
      id: 'b2',
      at: START,
      by: 'admin',
      address: '10.0.0.7',
      name: 'w7',
      refused: true,
      held: false,
      reason: 'banned by an admin',
    },
  ],
};

async function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  story: Story,
  orders: ControlRequest[],
): Promise<void> {
  const { pathname } = new URL(request.url!, 'http://staged');
  if (pathname === '/api/control') {
    orders.push(JSON.parse(Buffer.concat(await request.toArray()).toString()) as ControlRequest);
    return json(response, { ok: true, text: 'done' });
  }
  const { points, evaluations, samples, events, flows, runs, facts, credits } = story;
  const answers: Readonly<Record<string, unknown>> = {
    '/api/history': { points, evaluations, firstRound: 1, lastRound: points.round.at(-1) ?? 0, thinned: false },
    '/api/samples': { samples },
    '/api/events': { events, last: events.length },
    '/api/flow': { flows },
    '/api/runs': { runs },
    '/api/run': facts,
    '/api/credits': credits,
    '/api/bans': BANS,
    '/api/model/web': '<!doctype html>',
    '/healthz': {},
  };
  if (pathname in answers) return json(response, answers[pathname]);
  sendFile(response, pathname.startsWith('/join/') ? 'volunteer' : 'dashboard', path.basename(pathname));
}

function sendFile(response: http.ServerResponse, app: string, name: string): void {
  const file = path.join(builtPage(app), TYPES[path.extname(name)] === undefined ? 'index.html' : name);
  if (!fs.existsSync(file)) return void response.writeHead(404).end();
  const headers = JSON.parse(fs.readFileSync(path.join(builtPage(app), 'headers.json'), 'utf8')) as Record<string, string>;
  response
    .writeHead(200, { ...headers, 'content-type': `${TYPES[path.extname(file)]}; charset=utf-8` })
    .end(fs.readFileSync(file));
}

function json(response: http.ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
