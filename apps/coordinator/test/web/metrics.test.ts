import type { ConductorStatus } from '@troupe/conductor';
import { createRunHistory } from '@troupe/run';
import { expect, it } from 'vitest';
import type { Board } from '../../src/record/board.js';
import { createMetrics } from '../../src/web/metrics.js';

it('counts all workers by state, also those that no table shows', async () => {
  const metrics = createMetrics({
    conductor: {
      status: () => ({ config: {} }) as ConductorStatus,
      workerStates: () => new Map([['computing', 9_000] as const, ['left', 50] as const]),
    },
    board: { history: createRunHistory(), decisions: new Map(), watch: () => undefined } as unknown as Board,
    roundCharacters: 32,
    runId: 'r',
    viewers: () => 0,
  });
  const { text } = await metrics.read();
  expect(text).toMatch(/^troupe_workers\{state="computing"\} 9000$/m);
  expect(text).toMatch(/^troupe_workers\{state="late"\} 0$/m);
  expect(text).not.toMatch(/state="left"/);
});
