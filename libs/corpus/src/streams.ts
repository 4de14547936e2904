import { CorpusError } from './errors.js';
import type { Tokens } from './tokens.js';

/** Fraction of a corpus, from its start, that is trained on; the rest is for validation. */
export const TRAIN_FRACTION = 0.9;

export interface CorpusSplit {
  /** The first floor(trainFraction * n) ids; a view. */
  readonly train: Tokens;
  /** The ids after them; a copy, so that a thread that gets it does not get the whole text with it. */
  readonly validation: Uint16Array;
}

/**
 * Splits ids [n] into two contiguous parts, as nanoGPT and char-rnn do.
 * @throws CorpusError `bad_fraction`, or `too_short` if a part lacks an input and a target (two
 * characters)
 */
export function splitCorpus(tokens: Tokens, trainFraction: number = TRAIN_FRACTION): CorpusSplit {
  if (!(trainFraction > 0 && trainFraction < 1)) {
    throw new CorpusError(
      'bad_fraction',
      `training fraction ${trainFraction} is not between 0 and 1`,
      'Use 0.9, the usual value.',
    );
  }
  const at = Math.floor(trainFraction * tokens.length);
  if (at < 2 || tokens.length - at < 2) {
    throw new CorpusError(
      'too_short',
      `a corpus of ${tokens.length} characters leaves ${at} for training and ${tokens.length - at} for validation; each part needs 2`,
      `Use a longer text: at least ${Math.ceil(2 / Math.min(trainFraction, 1 - trainFraction)) + 1} characters, better about 100,000.`,
    );
  }
  return { train: tokens.subarray(0, at), validation: Uint16Array.from(tokens.subarray(at)) };
}

/**
 * The training part as B contiguous streams of equal length, read T characters a round. Everything
 * is a pure function of (stream, round), so every computation of a round reads the same
 * characters, on any worker.
 *
 * Stream s covers the targets s*W*T+1 .. (s+1)*W*T, W = floor((n-1) / (B*T)) windows, so that in
 * one pass of W rounds every character is a target at most once. Two kinds of characters are never
 * targets: the first one, which has no input before it, and the `dropped` ones at the end, fewer
 * than B*T, which do not fill another window of every stream.
 */
export interface Streams {
  /** B. */
  readonly streams: number;
  /** T, characters. */
  readonly window: number;
  /**
   * W, windows of one pass over the training part; the hidden state is zero before windows 0, W, 2W,
   * ...
   */
  readonly windowsPerPass: number;
  /** Characters at the end of the training part that are no stream's targets. */
  readonly dropped: number;
  /** Index in the training part of the first input of window `index` of `stream`. Numbers go on from pass to pass. */
  cursor(stream: number, index: number): number;
  /** Ids [T+1], a copy: inputs are 0..T-1, targets 1..T. */
  streamWindow(stream: number, index: number): Uint16Array;
}

/**
 * @param tokens the training part, ids [n]; referenced, not copied
 * @throws CorpusError `too_short` if n < B*T+1
 * @throws RangeError if B or T is not a whole number of at least 1; the methods throw it for a
 * stream or window out of range
 */
export function createStreams(tokens: Tokens, shape: { readonly streams: number; readonly window: number }): Streams {
  const { streams, window } = shape;
  wholeFrom(1, Infinity, 'streams', streams);
  wholeFrom(1, Infinity, 'window', window);
  const windowsPerPass = Math.floor((tokens.length - 1) / (streams * window));
  if (windowsPerPass < 1) throw tooShort(tokens.length, streams, window);

  const cursor = (stream: number, index: number): number => {
    wholeFrom(0, streams - 1, 'stream', stream);
    wholeFrom(0, Infinity, 'window', index);
    return (stream * windowsPerPass + (index % windowsPerPass)) * window;
  };
  return {
    streams,
    window,
    windowsPerPass,
    dropped: tokens.length - 1 - streams * windowsPerPass * window,
    cursor,
    streamWindow(stream, index) {
      const start = cursor(stream, index);
      return Uint16Array.from(tokens.subarray(start, start + window + 1));
    },
  };
}

function wholeFrom(least: number, most: number, name: string, value: number): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} ${value} is not a whole number from ${least} to ${most}`);
  }
}

function tooShort(length: number, streams: number, window: number): CorpusError {
  const needed = streams * window + 1;
  const corpus = Math.ceil(needed / TRAIN_FRACTION);
  const fits = [
    ['--batch', Math.floor((length - 1) / window)],
    ['--window', Math.floor((length - 1) / streams)],
  ] as const;
  const lower = fits.filter(([, most]) => most >= 1).map(([flag, most]) => `${flag} to ${most} or less`);
  return new CorpusError(
    'too_short',
    `the training part, ${length} characters, is shorter than one window of every stream: ` +
      `${streams} streams x ${window} characters + 1 = ${needed}`,
    `${lower.length > 0 ? `Lower ${lower.join(', or ')}` : 'Lower both --batch and --window'}, ` +
      `or use a corpus of at least ${corpus} characters; 90 % of them are trained on.`,
  );
}
