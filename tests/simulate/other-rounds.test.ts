import { createHash } from 'node:crypto';
import { withOtherRounds } from '@troupe/config';
import type { TrainingConfig } from '@troupe/protocol';
import { describe, expect, it } from 'vitest';
import { createSimulation, type Simulation } from './simulation.js';
import { finishDespiteKills } from './storm.js';
import { REPRODUCIBLE_LOCAL } from './training.js';

type Options = Parameters<typeof createSimulation>[0];

/** Ends with the first leg; the later ones resume. */
const EXACT: TrainingConfig = { ...REPRODUCIBLE_LOCAL, localSteps: 1, tracks: 0, rounds: 60, codec: 'fp16' };
const CHANGES = [10, 18];

/** Exact rounds, then local ones, then exact ones again. */
function legs(): readonly TrainingConfig[] {
  const local = withOtherRounds(EXACT, CHANGES[0], { localSteps: 3, tracks: 3 });
  const back = withOtherRounds(local, CHANGES[1], { localSteps: 1 });
  return [
    { ...EXACT, rounds: CHANGES[0] },
    { ...local, rounds: CHANGES[1] },
    { ...back, rounds: 26 },
  ];
}

/** @returns the checkpoint after each leg */
async function train(workers: readonly number[], run: (options: Options) => Promise<Simulation>) {
  const after = [];
  for (const config of legs()) {
    const { coordinator } = await run({ seed: workers.length, config, workers, start: after.at(-1) });
    after.push(coordinator.disk.latest()!);
  }
  return after;
}

async function inPeace(options: Options): Promise<Simulation> {
  const simulation = createSimulation(options);
  simulation.boot();
  await simulation.finish();
  return simulation;
}

describe('a run that a resume makes local, and another one exact again', () => {
  it('writes the same bits with 1, 2 and 5 workers, although workers and the coordinator are killed', async () => {
    const digestsOf = (checkpoints: Awaited<ReturnType<typeof train>>) =>
      checkpoints.map(({ round, parameters, twin, streamStates, optimizer }) => {
        const sum = createHash('sha256');
        for (const part of [parameters, twin!, streamStates, ...optimizer.slots.map(({ values }) => values)]) sum.update(part);
        return `${round} ${sum.digest('hex')}`;
      });
    const expected = digestsOf(await train([700], inPeace));
    expect(expected.map((text) => text.split(' ')[0])).toEqual(['10', '18', '26']);
    for (const workers of [[700], [300, 90], [200, 150, 100, 400, 50]]) {
      expect(digestsOf(await train(workers, finishDespiteKills))).toEqual(expected);
    }
  });

  it('keeps its positions in the text, and counts the steps of its average on', async () => {
    const [exact, local, back] = await train([700], inPeace);
    expect([exact, local, back].map(({ optimizer }) => optimizer.scalars.find(({ name }) => name === 'steps')?.value)).toEqual([
      10, 18, 26,
    ]);
    expect(local.optimizer.slots.map(({ name }) => name)).toEqual(['momentum']);
    expect(back.optimizer.slots.map(({ name }) => name)).toEqual(['first_moment', 'second_moment']);
    const passLength = exact.cursors[1] - exact.cursors[0];
    const windows = [10, 10 + 3 * 8, 10 + 3 * 8 + 8];
    expect([exact, local, back].map(({ cursors }) => cursors[0])).toEqual(windows.map((n) => (n * EXACT.window) % passLength));
  });
});
