import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EXIT, isLastingExit } from '../src/index.js';

/** The exit codes after which systemd does not start a unit again. */
function preventedBy(unit: string): number[] {
  const text = readFileSync(new URL(`../../../deploy/systemd/${unit}`, import.meta.url), 'utf8');
  return [.../^RestartPreventExitStatus=(.*)$/m.exec(text)![1].matchAll(/\d+/g)].map(Number);
}

describe('the service of a coordinator', () => {
  it.each(Object.entries(EXIT))('%s (%i) is not repeated if the same command would end in the same way', (name, code) => {
    expect(isLastingExit(code)).toBe(name === 'usage' || name === 'diverged');
    expect(preventedBy('troupe-coordinator.service').includes(code)).toBe(isLastingExit(code));
  });
});

it('the service of a worker is not repeated with wrong flags', () => {
  expect(preventedBy('troupe-worker@.service')).toEqual([EXIT.usage]);
});
