import { configFromFlags, parseTrainingConfig } from '@troupe/config';
import { describe, expect, it } from 'vitest';
import { describeStart } from '../src/terminal/report.js';
import { plainStyle } from '../src/terminal/style.js';

function planOf(flags: Record<string, string>): string | undefined {
  const parsed = parseTrainingConfig(configFromFlags((flag) => flags[flag], 65));
  if (!parsed.ok) throw new Error(parsed.problem);
  const listening = { event: 'listening', address: 'ws://a:1', joinCommand: 'join', runId: 'r', out: 'out' } as const;
  const corpus = { name: 'sonnets', characters: 10, train: 9, validation: 1 };
  const started = { event: 'started', round: 0, config: parsed.config, parameters: 1, corpus } as const;
  const lines = describeStart(listening, started, '1 worker', plainStyle, Infinity).split('\n');
  return lines.find((line) => line.includes('plan'));
}

describe('the plan of a run', () => {
  it('says how many windows a local round has', () => {
    expect(planOf({})).toContain('1,500 rounds of 32 streams x 64 characters');
    expect(planOf({ '--local-steps': '32' })).toContain('47 rounds of 32 steps of 8 tracks: 32 streams x 64 characters');
  });
});
