import { describe, expect, it } from 'vitest';
import { createSimulation } from './simulation.js';
import { finishDespiteKills, truthOf } from './storm.js';
import { LOCAL, REPRODUCIBLE_LOCAL } from './training.js';

const ROUNDS = 30;

describe('a run with local rounds', () => {
  it.each([[[700]], [[300, 90]], [[200, 150, 100, 400, 50]]])(
    'takes the steps that tracks take alone, with workers of %j chars/s',
    async (workers) => {
      const config = { ...LOCAL, rounds: ROUNDS };
      const simulation = createSimulation({ seed: workers.length, config, workers, truth: await truthOf(config) });
      simulation.boot();
      await simulation.finish();
      expect(simulation.commits).toHaveLength(ROUNDS);
    },
  );

  it('writes the same files with 1, 2 and 5 workers, although workers and the coordinator are killed', async () => {
    const config = { ...REPRODUCIBLE_LOCAL, rounds: ROUNDS };
    const truth = await truthOf(config);
    for (const workers of [[700], [300, 90], [200, 150, 100, 400, 50]]) {
      const simulation = await finishDespiteKills({ seed: workers.length, config, workers, truth });
      expect(simulation.audit.files.size).toBeGreaterThan(2);
      expect(simulation.audit.files.get(String(ROUNDS))).toEqual(truth.files!.get(String(ROUNDS)));
    }
  });
});
