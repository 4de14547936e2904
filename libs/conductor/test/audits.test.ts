import { expect, it } from 'vitest';
import { Audits } from '../src/audits.js';
import type { Auditor } from '../src/ports.js';
import type { ConductorEvent } from '../src/events.js';
import { createDeadlines, smallTraining, turn } from './fixture.js';

/** An auditor that fails at `stop`. */
function failing() {
  const reports: unknown[] = [];
  const puts: ConductorEvent[] = [];
  const over = new AbortController();
  let stop!: () => void;
  const failure = new Promise<never>((_, reject) => (stop = () => reject(new Error('no memory'))));
  const auditor: Auditor = { audit: () => failure, verify: () => failure };
  const audits = new Audits({
    training: smallTraining(),
    auditor,
    reduce: { rule: () => undefined },
    isSound: () => true,
    round: () => 0,
    ports: { deadline: createDeadlines().start, report: (event) => void reports.push(event) },
    over: over.signal,
    put: (event) => void puts.push(event),
  });
  const audit = (leaseId: string): void =>
    audits.handle({
      type: 'audit',
      audit: {
        ...{ kind: 'audit', round: 0, leaseId, workerId: 'w1', streams: [0], lossSum: 1, computeMs: 1 },
        bytes: new Uint8Array(4),
      },
    });
  return { audit, reports, puts, over, stop };
}

it('a person hears once that nobody can audit, and no lease is called a lie', async () => {
  const { audit, reports, puts, stop } = failing();
  audit('1');
  audit('2');
  stop();
  await turn();
  expect(reports).toMatchObject([{ level: 'warn', text: 'what volunteers compute cannot be audited: no memory' }]);
  expect(puts).toMatchObject([{ finding: { verdict: 'unknown' } }, { finding: { verdict: 'unknown' } }]);
});

it('an auditor that is closed with its run alarms nobody', async () => {
  const { audit, reports, over, stop } = failing();
  audit('1');
  over.abort(new Error('the run is over'));
  stop();
  await turn();
  expect(reports).toEqual([]);
});
