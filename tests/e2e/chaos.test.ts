/**
 * A run computes the same whichever processes join, leave, freeze or crash, and whatever the
 * network does.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createCompany, hashes, type Company } from './company.js';
import { byChance, type Chance } from './mischief.js';
import {
  appOf,
  areReady,
  at,
  end,
  named,
  scratch,
  signal,
  SMALL,
  start,
  whilePaused,
  type Line,
  type Running,
} from './troupe.js';

const ADMIN = 'a-token-of-admins';
const ROUNDS = 200;
const LAST = `round-${String(ROUNDS).padStart(8, '0')}.safetensors`;
/** Rounds of about 15 ms, so that a worker has time to start, join and compute during the run. */
const STEADY = [
  ...['--hidden', '96', '--batch', '16', '--window', '64', '--rounds', String(ROUNDS), '--codec', 'fp32'],
  ...['--dropout-output', '0.1', '--ema', '0.9'],
];
const CADENCES = ['--eval-every', '50', '--sample-every', '0', '--checkpoint-every', '3'];
const REPRODUCIBLE = ['--reproducible', '--lease-streams', '3'];
/** All that the recipes use: both kinds of dropout, layer normalisation, averaged parameters. */
const AS_RECIPES = [
  ...['--layers', '2', '--hidden', '48', '--batch', '12', '--window', '48', '--rounds', String(ROUNDS)],
  ...['--layer-norm', '--dropout', '0.4', '--dropout-output', '0.5', '--ema', '0.95', '--clip', '1'],
];
const LOCAL = [...AS_RECIPES, '--local-steps', '3', '--tracks', '4', '--codec', 'int8-both'];
const STORM_MS = 150_000;

// Takes seconds on two idle cores.
vi.setConfig({ testTimeout: 200_000, hookTimeout: 100_000 });

let cwd = '';
const started: Running[] = [];
const companies: Company[] = [];
beforeAll(async () => {
  cwd = await scratch();
});
afterAll(async () => {
  await Promise.all([...started.map(end), ...companies.map((company) => company.close())]);
  await fs.rm(cwd, { recursive: true, force: true });
});

interface Outcome {
  readonly events: readonly Line[];
  readonly files: Record<string, string>;
}

/** All its workers take part from the first round on. */
async function train(out: string, flags: readonly string[], workers = 1): Promise<Outcome> {
  const args = ['train', ...flags, '--workers', String(workers), '--out', out, '--json'];
  const training = start(args, { cwd, env: { TROUPE_ADMIN_TOKEN: ADMIN } });
  started.push(training);
  const { address } = await training.line(named('listening'));
  const names = Array.from({ length: workers }, (_, index) => `local-${index + 1}`);
  await whilePaused(address as string, ADMIN, () => areReady(training, names));
  const { code, stderr } = await training.exited;
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return { events: training.lines, files: await hashes(path.join(cwd, out)) };
}

/** The reference: an undisturbed reproducible run with one worker. */
let alone: Outcome;
beforeAll(async () => {
  alone = await train('alone', [...STEADY, ...CADENCES, ...REPRODUCIBLE]);
});

const lossOf = (events: readonly Line[], round: number): number =>
  events.find((line) => line.event === 'evaluation' && line.round === round)!.validationLoss as number;

function expectSameFiles(files: Record<string, string>, expected: Record<string, string>): void {
  expect(Object.keys(files)).toEqual(expect.arrayContaining([LAST, 'best.safetensors']));
  for (const name of Object.keys(files)) if (name in expected) expect([name, files[name]]).toEqual([name, expected[name]]);
}

/** The loss of every round, each time it was computed, is within 0.001 nats of the reference. */
function expectSameLosses(events: readonly Line[], expected: readonly Line[]): void {
  const losses = new Map(expected.filter(named('round')).map((line) => [line.round, line.trainLoss as number]));
  const rounds = events.filter(named('round'));
  expect(new Set(rounds.map((line) => line.round)).size).toBe(ROUNDS);
  for (const { round, trainLoss } of rounds) {
    expect(Math.abs((trainLoss as number) - losses.get(round)!), `round ${String(round)}`).toBeLessThan(1e-3);
  }
  expect(Math.abs(lossOf(events, ROUNDS) - lossOf(expected, ROUNDS))).toBeLessThan(1e-3);
}

describe('a reproducible run', () => {
  it.each([2, 5])('gives the same checkpoints, bit for bit, with %i workers as with one', async (workers) => {
    const many = await train(`workers-${workers}`, [...STEADY, ...CADENCES, ...REPRODUCIBLE], workers);
    expectSameFiles(many.files, alone.files);
  });

  it.each([
    ['all that recipes use', AS_RECIPES],
    ['local rounds', LOCAL],
  ])('gives the same checkpoints, bit for bit, with %s, with one, two and three workers', async (name, flags) => {
    const outcomes: Outcome[] = [];
    for (const workers of [1, 2, 3]) {
      const out = `${name.split(' ')[0]}-${workers}`;
      const outcome = await train(out, [...flags, ...CADENCES, ...REPRODUCIBLE], workers);
      expect(outcome.events.filter(named('evaluation')).every(({ averageLoss }) => typeof averageLoss === 'number')).toBe(true);
      outcomes.push(outcome);
    }
    const [one, ...others] = outcomes;
    for (const { files } of others) expectSameFiles(files, one.files);
  });

  it('says what to do to a worker that insists on another engine', async () => {
    const company = await open('engine', ['--rounds', '1000000', ...SMALL, '--reproducible']);
    const stubborn = company.hire('--engine', 'native');
    const { code, stderr } = await stubborn.exited;
    expect(code).toBe(1);
    expect(stderr).toMatch(/reproducible/);
    expect(stderr).toMatch(/--engine (wasm|auto)/);
    expect(stderr).not.toMatch(/\n\s+at /);
    company.hire();
    await company.coordinator.line(at(3));
    await company.close();
  });

  it('gives the same checkpoint when its all-reduce service is killed and started again', async () => {
    const flags = [...SMALL, '--rounds', '400', '--reproducible', '--eval-every', '0', '--checkpoint-every', '0'];
    const expected = await train('one-service', flags);
    const env = { TROUPE_TOKEN: 'a-token-of-this-test', TROUPE_ALLREDUCE_TOKEN: 'a-secret-of-this-test' };
    const launch = (...args: string[]): Running => {
      const running = start(args, { cwd, env });
      started.push(running);
      return running;
    };
    const service = launch('allreduce', '--port', '0', '--json');
    const { address } = await service.line(named('listening'));
    const two = launch(
      'coordinator',
      ...flags,
      '--port',
      '0',
      '--out',
      'two-services',
      '--json',
      '--allreduce',
      address as string,
    );
    const { address: door } = await two.line(named('listening'));
    const app = await appOf(service);
    for (const name of ['a', 'b']) launch('worker', door as string, '--name', name);
    await two.line(at(40));
    signal(app, 'SIGKILL');
    await two.line(named('waiting'));
    launch('allreduce', '--port', new URL(address as string).port);
    expect((await two.exited).code).toBe(0);
    expect(await hashes(path.join(cwd, 'two-services'))).toEqual(expected.files);
  });
});

type Mischief = (company: Company, chance: Chance, engines: readonly string[]) => Promise<void>;

const MISCHIEF = {
  async 'worker killed'(company, chance, engines) {
    await company.replace(chance.pick(company.workers), '--engine', chance.pick(engines));
  },
  async 'worker frozen'(company, chance) {
    await company.freeze(chance.pick(company.workers), chance.between(200, 2_500));
  },
  async 'coordinator frozen'(company, chance) {
    await company.freeze(company.coordinator, chance.between(100, 800));
  },
  async 'coordinator killed'(company) {
    await company.crash();
  },
  async 'link cut'({ links }, chance) {
    if (links.length > 0) chance.pick(links).cut();
  },
  async 'link stalled'({ links }, chance) {
    if (links.length > 0) chance.pick(links).stall(chance.between(300, 2_000));
  },
  async 'all links stalled'({ links }, chance) {
    for (const link of links) link.stall(chance.between(100, 700));
  },
  async 'link slow'({ links }, chance) {
    if (links.length === 0) return;
    const link = chance.pick(links);
    link.delay(chance.between(5, 60));
    await sleep(1_000);
    link.delay(0);
  },
} satisfies Record<string, Mischief>;

const DECK: readonly (keyof typeof MISCHIEF)[] = [
  ...(['worker killed', 'worker killed', 'worker killed', 'worker frozen', 'worker frozen', 'coordinator frozen'] as const),
  ...(['coordinator killed', 'coordinator killed', 'link cut', 'link cut', 'link stalled', 'all links stalled'] as const),
  'link slow',
];

async function open(out: string, flags: readonly string[]): Promise<Company> {
  const company = await createCompany({ cwd, out, flags });
  companies.push(company);
  return company;
}

/** Every disturbance, in random order and at random rounds; some overlap. */
async function disturb(
  company: Company,
  engines: readonly string[],
  chance: Chance,
  note: (what: string) => void,
): Promise<void> {
  const deck = chance.shuffled(DECK);
  const moments = deck.map(() => chance.whole(4, ROUNDS - 20)).sort((a, b) => a - b);
  const lasting: Promise<void>[] = [];
  for (const [i, name] of deck.entries()) {
    await company.coordinator.line(at(moments[i]));
    await sleep(chance.between(0, 60));
    note(`round ${moments[i]}: ${name}`);
    const done = MISCHIEF[name](company, chance, engines);
    if (name === 'coordinator killed') await done;
    lasting.push(done);
    done.catch(() => undefined);
  }
  await Promise.all(lasting);
}

async function storm(out: string, flags: readonly string[], engines: readonly string[]): Promise<Outcome> {
  const company = await open(out, [...STEADY, ...CADENCES, ...flags]);
  await byChance(STORM_MS, async (chance, note) => {
    for (let i = 0; i < 3; i++) company.hire('--engine', chance.pick(engines));
    await disturb(company, engines, chance, note);
    const { code, stdout, stderr } = await company.coordinator.exited;
    if (code !== 0) throw new Error(`the coordinator ended with ${code}:\n${stdout.slice(-2_000)}${stderr}`);
    await expectSound(company);
  });
  await company.close();
  return { events: company.events, files: await hashes(path.join(cwd, out)) };
}

/**
 * Each worker left normally, returned to a finished run, or was about to try again; none gave up.
 */
async function expectSound({ workers }: Company): Promise<void> {
  for (const { child, exited } of workers) {
    if (child.exitCode === null) continue;
    const { code, stderr } = await exited;
    if (code !== 0) expect(stderr).toMatch(/the run is complete/);
  }
}

describe('workers killed and frozen, the coordinator killed, links cut, stalled and slowed down', () => {
  it('change no bit of a reproducible run', async () => {
    const { events, files } = await storm('storm-reproducible', REPRODUCIBLE, ['auto']);
    expectSameFiles(files, alone.files);
    expectSameLosses(events, alone.events);
  });

  it('change the losses of any other run by less than 0.001 nats', async () => {
    const { events } = await storm('storm', [], ['auto', 'wasm']);
    expectSameLosses(events, alone.events);
  });
});
