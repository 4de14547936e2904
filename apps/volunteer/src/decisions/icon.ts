/** The page's icon in the browser's tab, which shows what this device is doing. */
import { finishOf } from './finish.js';
import type { RunFacts } from './run-facts.js';
import { isHeldByRun, type Status } from './status.js';

export type IconState = 'idle' | 'computing' | 'paused' | 'finished' | 'error';

/** @param hasProblem the page says why it cannot take part */
export function iconState(status: Status, facts: RunFacts | undefined, hasProblem: boolean): IconState {
  const finish = finishOf(status, facts);
  if (finish !== undefined) return finish === 'diverged' ? 'error' : 'finished';
  if (hasProblem) return 'error';
  if (isHeldByRun(status, facts)) return 'paused';
  switch (status.phase.at) {
    case 'paused':
    case 'parked':
      return 'paused';
    case 'reconnecting':
    case 'failed':
      return 'error';
    case 'computing':
    case 'ready':
      return 'computing';
    default:
      return 'idle';
  }
}

/** On a disc of 32 pixels; they differ in shape as well as in colour. */
const MARKS: Readonly<Record<IconState, readonly [ground: string, mark: string]>> = {
  idle: ['#5a636b', '<circle cx="16" cy="16" r="6" fill="none" stroke="#fff" stroke-width="4"/>'],
  computing: ['#0b5c72', '<path fill="#fff" d="M12 8l13 8-13 8z"/>'],
  paused: ['#8a4b00', '<path fill="#fff" d="M10 9h4v14h-4zm8 0h4v14h-4z"/>'],
  finished: ['#1d6b34', '<path fill="none" stroke="#fff" stroke-width="4" d="M8 17l6 6 10-13"/>'],
  error: ['#a3261f', '<path fill="#fff" d="M14 7h4v11h-4zm0 14h4v4h-4z"/>'],
};

/** An address for a link of type `icon`. */
export function iconAddress(state: IconState): string {
  const [ground, mark] = MARKS[state];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="16" fill="${ground}"/>${mark}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
