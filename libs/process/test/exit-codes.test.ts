import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EXIT, isLastingExit } from '../src/index.js';

/** The exit codes after which systemd does not start a unit again. */
function preventedBy(unit: string): number[] {
  const text = readFileSync(new URL(`../../../deploy/systemd/${unit}`, import.meta.url), 'utf8');
  return [.../^RestartPreventExitStatus=(.*)$/m.exec(text)![1].matchAll(/\d+/g)].map(Number);
}

describe('services', () => {
  it('of a coordinator do not repeat wrong flags, nor a run that has diverged', () => {
    expect(preventedBy('troupe-coordinator.service')).toEqual([EXIT.usage, EXIT.diverged]);
  });

  it('of a worker do not repeat wrong flags, what the coordinator has refused for good, nor what its traffic limit has ended', () => {
    expect(preventedBy('troupe-worker@.service')).toEqual([EXIT.usage, EXIT.refused, EXIT.trafficLimit]);
  });

  it.each(Object.entries(EXIT))('%s (%i) is repeated unless one of them does not', (_, code) => {
    const prevented = ['troupe-coordinator.service', 'troupe-worker@.service'].some((unit) => preventedBy(unit).includes(code));
    expect(isLastingExit(code)).toBe(prevented);
  });
});
