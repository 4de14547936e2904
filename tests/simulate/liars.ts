/** Runs with hostile volunteers, with many seeds: whether each liar is found, when, and what remains of its lies. */
import type { Lie } from './engine.js';
import { after, LIES, mixed, scaled } from './lies.js';
import { createSimulation, type Simulation } from './simulation.js';
import { truthOf } from './storm.js';
import { REPRODUCIBLE } from './training.js';

export interface LiarsOptions {
  /** The first seed; the others follow it. */
  readonly first: number;
  readonly seeds: number;
  print(line: string): void;
}

interface Case {
  readonly name: string;
  readonly lie: Lie;
  /** Of five volunteers. */
  readonly liars: number;
  readonly rounds: number;
}

/** Honest leases before a volunteer turns. */
const TURNING = 100;
/** In which a volunteer computes that many, and is found out. */
const MANY_ROUNDS = 300;
const FEW_ROUNDS = 40;
const VOLUNTEERS = [400, 250, 200, 300, 350];

const CASES: readonly Case[] = [
  ...Object.entries(LIES).map(([name, lie]) => ({ name, lie, liars: 1, rounds: FEW_ROUNDS })),
  { name: 'mixed', lie: mixed, liars: 1, rounds: FEW_ROUNDS },
  { name: 'two of five alike', lie: scaled(-3), liars: 2, rounds: FEW_ROUNDS },
  ...['a gradient with the sign flipped', 'end states of 1', 'a flipped sign in a part of one tensor'].map((name) => ({
    name: `${name}, after ${TURNING} honest leases`,
    lie: after(TURNING, LIES[name]),
    liars: 1,
    rounds: MANY_ROUNDS,
  })),
  { name: `mixed, after ${TURNING}`, lie: after(TURNING, mixed), liars: 1, rounds: MANY_ROUNDS },
  { name: `two of five alike, after ${TURNING}`, lie: after(TURNING, scaled(-3)), liars: 2, rounds: MANY_ROUNDS },
];

interface Outcome {
  /** Whether the last parameters have the bits of a run to which nothing happened. */
  readonly isWhole: boolean;
  /** Rounds from the first lie to the last ban of a liar; undefined if one was not found. */
  readonly foundAfter: number | undefined;
  readonly lied: number;
  readonly wronglyBanned: number;
  readonly backs: number;
}

/** Prints a table. @returns how many runs ended otherwise than without liars, or banned somebody honest */
export async function playLiars({ first, seeds, print }: LiarsOptions): Promise<number> {
  let failed = 0;
  print('| lie | rounds until found: median, most | not found of liars | went back | honest banned | other bits |');
  print('|---|---|---|---|---|---|');
  for (const one of CASES) {
    const outcomes: Outcome[] = [];
    for (let seed = first; seed < first + seeds; seed++) outcomes.push(await play(one, seed));
    const sum = (count: (outcome: Outcome) => number): number => outcomes.reduce((total, each) => total + count(each), 0);
    const found = outcomes.flatMap(({ foundAfter }) => foundAfter ?? []).sort((a, b) => a - b);
    const broken = sum(({ isWhole, wronglyBanned }) => (isWhole && wronglyBanned === 0 ? 0 : 1));
    failed += broken;
    const figures = [
      `${found[found.length >> 1] ?? '-'}, ${found.at(-1) ?? '-'}`,
      `${outcomes.filter(({ lied, foundAfter }) => lied > 0 && foundAfter === undefined).length} of ${seeds}`,
      ...[sum(({ backs }) => backs), sum(({ wronglyBanned }) => wronglyBanned), sum(({ isWhole }) => (isWhole ? 0 : 1))],
    ];
    print(`| ${[one.name, ...figures].join(' | ')} |`);
  }
  return failed;
}

async function play({ lie, liars, rounds }: Case, seed: number): Promise<Outcome> {
  const config = { ...REPRODUCIBLE, rounds };
  const truth = await truthOf(config);
  const lied = new Map<number, number>();
  const cadences = { checkpointEvery: 40, evaluateEvery: 40 };
  const volunteers = VOLUNTEERS.map((charsPerSecond, i) => ({
    charsPerSecond,
    ...(i < liars && {
      lie: (...of: Parameters<Lie>) => {
        const said = lie(...of);
        if (said !== of[0] && !lied.has(i)) lied.set(i, roundNow(simulation));
        return said;
      },
    }),
  }));
  const simulation = createSimulation({ seed, config, workers: [], volunteers, cadences });
  simulation.boot();
  await simulation.finish();
  // Of several bans of one, the first counts.
  const bans = new Map(
    bansIn(simulation)
      .map(({ name, round }) => [name, round] as const)
      .reverse(),
  );
  const liarsFound = [...lied.keys()].every((i) => bans.has(`v${i}`));
  const lastBan = Math.max(...[...lied.keys()].map((i) => bans.get(`v${i}`) ?? 0));
  return {
    isWhole: truth.parameters[rounds].every((value, i) => Object.is(value, simulation.audit.parameters.get(rounds)![i])),
    foundAfter: lied.size > 0 && liarsFound ? lastBan - Math.min(...lied.values()) : undefined,
    lied: lied.size,
    wronglyBanned: [...bans.keys()].filter((name) => Number(name.slice(1)) >= liars).length,
    backs: simulation.coordinator.failures.filter(({ name }) => name === 'RunTainted').length,
  };
}

function roundNow({ coordinator }: Simulation): number {
  return coordinator.conductor?.shell.round ?? 0;
}

/** Who was banned so far, and in which round. */
export function bansIn({ coordinator }: Simulation): readonly { readonly name: string; readonly round: number }[] {
  return coordinator.events.flatMap((event) =>
    event.event === 'decision' && event.decision.kind === 'auditFailed'
      ? [{ name: event.decision.worker, round: event.round }]
      : [],
  );
}
