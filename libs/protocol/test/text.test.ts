import { describe, expect, it } from 'vitest';
import { brief, encodeMessage, LIMITS, printable, printableLines, ProtocolError, refusal, sameText } from '../src/index.js';

describe('a brief text', () => {
  it('is the text itself where that is short enough', () => {
    for (const text of ['', 'the run is over', 'x'.repeat(LIMITS.reasonLength)]) expect(brief(text)).toBe(text);
  });

  it('is cut to what a reason may be long, and shows that it was', () => {
    const text = brief('x'.repeat(LIMITS.reasonLength + 1));
    expect(text).toBe(`${'x'.repeat(LIMITS.reasonLength - 1)}…`);
  });

  it('is never cut within a character', () => {
    expect(brief('ab🎭🎭🎭', 5)).toBe('ab🎭…');
    expect(brief('ab🎭🎭🎭', 4)).toBe('ab…');
  });
});

describe('a refusal', () => {
  it('says what the error says, as far as it can be sent', () => {
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
  it('are the same only in every character', () => {
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

  it('loses line feeds and tabs where it is one line, and keeps them where it is several', () => {
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
  ])('keeps what people write: %s', (text) => {
    expect(printable(text)).toBe(text);
    expect(printableLines(text)).toBe(text);
  });
});
