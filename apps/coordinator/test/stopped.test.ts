import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Checkpoint } from '@troupe/checkpoint';
import { describe, expect, it } from 'vitest';
import { parseSettings } from '../src/settings.js';
import { causeOf, isEarlyStop } from '../src/stopped.js';
import { loadNewText, loadRunText } from '../src/training-text.js';

/** What Node's wait rejects with when `signal` aborts. */
const waitUntil = (signal: AbortSignal): Promise<Error> =>
  sleep(60_000, undefined, { signal }).then(
    () => new Error('over'),
    (error: Error) => error,
  );

describe('a request to stop', () => {
  const signal = AbortSignal.abort(new Error('asked to stop'));

  it('during a wait before the start is no error', async () => {
    expect(isEarlyStop(await waitUntil(signal), signal, false)).toBe(true);
    expect(isEarlyStop(signal.reason as Error, signal, false)).toBe(true);
  });

  it.each([
    ['new', 'reading'],
    ['resumed', 'reading'],
    ['new', 'downloading'],
  ])('while a %s run is %s its text is no error', async (start, what) => {
    const corpus = what === 'reading' ? fileURLToPath(import.meta.url) : 'tiny-shakespeare';
    const settings = parseSettings([`--corpus=${corpus}`], {});
    const env = {};
    const loading =
      start === 'new'
        ? loadNewText(settings, env, signal)
        : loadRunText({ corpus: { name: corpus }, vocabulary: [] } as unknown as Checkpoint, settings, env, signal);
    const error = await loading.then(
      () => new Error('it was read'),
      (failure: Error) => failure,
    );
    expect(isEarlyStop(error, signal, false)).toBe(true);
    expect(causeOf(error)).toBe(signal.reason);
  });

  it('does not hide an error after the start, or another one', async () => {
    expect(isEarlyStop(await waitUntil(signal), signal, true)).toBe(false);
    expect(isEarlyStop(new Error('the disk is full'), signal, false)).toBe(false);
    expect(isEarlyStop(await waitUntil(signal), new AbortController().signal, false)).toBe(false);
  });

  it('that has a cause of its own is reported by that cause', async () => {
    const lost = new Error('another coordinator has taken the folder');
    expect(causeOf(await waitUntil(AbortSignal.abort(lost)))).toBe(lost);
    const full = new Error('full', { cause: lost });
    expect(causeOf(full)).toBe(full);
  });
});
