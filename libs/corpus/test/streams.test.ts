import { describe, expect, it } from 'vitest';
import { CorpusError, createStreams, splitCorpus } from '../src/index.js';

const ramp = (length: number) => Uint16Array.from({ length }, (_, i) => i);

describe('splitCorpus', () => {
  it.each([new Uint8Array(200), new Uint16Array(200)])(
    'copies the validation part, of bytes or words, without the rest of the text',
    (ids) => {
      const { train, validation } = splitCorpus(ids.map((_, i) => i));
      expect([...validation]).toEqual(Array.from({ length: 20 }, (_, i) => 180 + i));
      expect(validation.buffer.byteLength).toBe(40);
      expect(train.BYTES_PER_ELEMENT).toBe(ids.BYTES_PER_ELEMENT);
    },
  );

  it('splits tiny-shakespeare where nanoGPT does', () => {
    const { train, validation } = splitCorpus(new Uint16Array(1_115_394));
    expect([train.length, validation.length]).toEqual([1_003_854, 111_540]);
  });

  it('is contiguous and loses nothing', () => {
    const { train, validation } = splitCorpus(ramp(101), 0.5);
    expect([...train, ...validation]).toEqual([...ramp(101)]);
    expect(train).toHaveLength(50);
  });

  it.each([0, 1, -1, Number.NaN])('rejects the fraction %s', (fraction) => {
    expect(() => splitCorpus(ramp(100), fraction)).toThrow(expect.objectContaining({ code: 'bad_fraction' }));
  });

  it('rejects a corpus that leaves no validation target', () => {
    expect(() => splitCorpus(ramp(10))).toThrow(expect.objectContaining({ code: 'too_short' }));
    expect(splitCorpus(ramp(20)).validation).toHaveLength(2);
  });
});

describe('createStreams', () => {
  const cases = [
    { n: 7, streams: 2, window: 3 },
    { n: 100, streams: 3, window: 4 },
    { n: 97, streams: 1, window: 96 },
    { n: 1000, streams: 7, window: 13 },
  ];

  it.each(cases)(
    'makes every character of $n a target at most once in a pass of $streams x $window',
    ({ n, streams, window }) => {
      const corpus = createStreams(ramp(n), { streams, window });
      const seen = new Map<number, number>();
      for (let round = 0; round < corpus.windowsPerPass; round++) {
        for (let stream = 0; stream < streams; stream++) {
          for (const target of corpus.streamWindow(stream, round).subarray(1)) seen.set(target, (seen.get(target) ?? 0) + 1);
        }
      }
      expect(new Set(seen.values())).toEqual(new Set([1]));
      expect(seen.size).toBe(n - 1 - corpus.dropped);
      expect(corpus.dropped).toBeLessThan(streams * window);
      expect(seen.has(0)).toBe(false);
    },
  );

  it('continues in each round where the previous one ended, until it wraps', () => {
    const corpus = createStreams(ramp(1000), { streams: 4, window: 16 });
    for (let round = 1; round < corpus.windowsPerPass; round++) {
      for (let stream = 0; stream < 4; stream++) {
        expect(corpus.streamWindow(stream, round)[0]).toBe(corpus.streamWindow(stream, round - 1)[16]);
      }
    }
    expect(corpus.cursor(3, corpus.windowsPerPass)).toBe(corpus.cursor(3, 0));
    expect(corpus.streamWindow(3, corpus.windowsPerPass)).toEqual(corpus.streamWindow(3, 0));
  });

  it('reads T+1 ids from the cursor', () => {
    const corpus = createStreams(ramp(500), { streams: 5, window: 9 });
    const at = corpus.cursor(2, 12);
    expect([...corpus.streamWindow(2, 12)]).toEqual([...ramp(500).subarray(at, at + 10)]);
  });

  it('returns copies', () => {
    const tokens = ramp(50);
    createStreams(tokens, { streams: 2, window: 4 }).streamWindow(0, 0).fill(9);
    expect(tokens).toEqual(ramp(50));
  });

  it('accepts the shortest corpus that fills one window, and none shorter', () => {
    expect(createStreams(ramp(13), { streams: 3, window: 4 }).windowsPerPass).toBe(1);
    expect(() => createStreams(ramp(12), { streams: 3, window: 4 })).toThrow(CorpusError);
  });

  it('says how long the corpus must be and which flags to lower', () => {
    const error = (() => {
      try {
        return createStreams(ramp(500), { streams: 32, window: 64 });
      } catch (caught) {
        return caught as CorpusError;
      }
    })();
    expect(error).toMatchObject({ code: 'too_short' });
    expect((error as CorpusError).message).toContain('shorter than one window');
    expect((error as CorpusError).message).toContain('2049');
    expect((error as CorpusError).remedy).toMatch(/--batch to 7 or less.*--window to 15 or less.*at least 2277 characters/);
  });

  it('rejects streams and rounds out of range', () => {
    const corpus = createStreams(ramp(100), { streams: 2, window: 4 });
    expect(() => corpus.streamWindow(2, 0)).toThrow(RangeError);
    expect(() => corpus.cursor(0, -1)).toThrow(RangeError);
    expect(() => createStreams(ramp(100), { streams: 0, window: 4 })).toThrow(RangeError);
  });
});
