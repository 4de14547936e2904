import { describe, expect, it } from 'vitest';
import { brief, encodeMessage, LIMITS, printable, printableLines, ProtocolError, refusal, sameText } from '../src/index.js';

describe('brief', () => {
  it('keeps a short text', () => {
    for (const text of ['', 'the run is over', 'x'.repeat(LIMITS.reasonLength)]) expect(brief(text)).toBe(text);
  });

  it('cuts a text to the longest allowed reason and marks the cut', () => {
    const text = brief('x'.repeat(LIMITS.reasonLength + 1));
    expect(text).toBe(`${'x'.repeat(LIMITS.reasonLength - 1)}…`);
  });

  it('never splits a character', () => {
    expect(brief('ab🎭🎭🎭', 5)).toBe('ab🎭…');
    expect(brief('ab🎭🎭🎭', 4)).toBe('ab…');
  });
});

describe('a refusal', () => {
  it('carries the message and remedy of the error, cut to the allowed length', () => {
    const error = new ProtocolError('run_full', 'm'.repeat(600), 'r'.repeat(600));
    const message = refusal(error);
    expect(message).toMatchObject({ type: 'refuse', code: 'run_full' });
    expect(() => encodeMessage(message)).not.toThrow();
    expect(refusal(new ProtocolError('run_over', 'the run is over', 'Join another.'))).toEqual({
      type: 'refuse',
      code: 'run_over',
      message: 'the run is over',
      remedy: 'Join another.',
    });
  });
});

describe('secrets', () => {
  it('are equal only if every character is', () => {
    expect(sameText('open sesame', 'open sesame')).toBe(true);
    expect(sameText('', '')).toBe(true);
    const others = ['open sesamE', 'Open sesame', 'open sesam', 'open sesame ', '', 'open sesameopen sesame'];
    for (const other of others) {
      expect(sameText(other, 'open sesame')).toBe(false);
      expect(sameText('open sesame', other)).toBe(false);
    }
  });
});

describe('a text from a peer', () => {
  const code = (point: number) => `a${String.fromCodePoint(point)}b`;
  const points = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

  it.each([
    ['C0 controls and DEL', [...points(0x00, 0x08), ...points(0x0b, 0x1f), 0x7f]],
    ['C1 controls', points(0x80, 0x9f)],
    ['line and paragraph separators', [0x2028, 0x2029]],
    [
      'marks, embeddings, overrides and isolates of direction',
      [0x061c, 0x200e, 0x200f, ...points(0x202a, 0x202e), ...points(0x2066, 0x2069)],
    ],
    ['lone surrogates', [0xd800, 0xdbff, 0xdc00, 0xdfff]],
  ])('loses its %s', (_, stripped) => {
    for (const point of stripped) {
      expect(printable(code(point))).toBe('a\ufffdb');
      expect(printableLines(code(point))).toBe('a\ufffdb');
    }
  });

  it('loses line feeds and tabs as one line, and keeps them as several', () => {
    expect(printable('a\n\tb')).toBe('a\ufffd\ufffdb');
    expect(printableLines('a\n\tb')).toBe('a\n\tb');
  });

  it.each([
    'Ann & Co. <b>',
    'Straße',
    '漢字',
    'שלום',
    'a\u200cb',
    '\u{1f469}\u200d\u{1f680}',
    'e\u0301',
    'soft\u00adhyphen',
    '\ue000',
  ])('keeps ordinary writing: %s', (text) => {
    expect(printable(text)).toBe(text);
    expect(printableLines(text)).toBe(text);
  });
});
