import { describe, expect, it } from 'vitest';
import { auditMark } from '../src/reading/audits.js';
import { createFormat } from '../src/reading/format.js';
import { TEXTS } from '../src/texts.js';

const mark = (audits?: { readonly passed: number; readonly onProbation: boolean }, gone = false) =>
  auditMark({ state: gone ? 'left' : 'computing', ...(audits && { audits }) }, TEXTS.en, createFormat('en'));

describe('a volunteer', () => {
  it('is marked while nothing of it counts unaudited, and then with the audits that it has passed', () => {
    expect(mark({ passed: 2, onProbation: true })).toEqual({
      label: 'on probation',
      what: 'The coordinator computes every lease again before anything counts. 2 agreed so far.',
    });
    expect(mark({ passed: 1_200, onProbation: false }).label).toBe('audited 1,200 ×');
  });

  it('is not marked if it is trusted or gone', () => {
    expect([mark(), mark({ passed: 2, onProbation: true }, true)]).toEqual(Array(2).fill({ label: '', what: '' }));
  });
});
