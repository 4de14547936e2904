import { describe, expect, it } from 'vitest';
import { brief, encodeMessage, LIMITS, ProtocolError, refusal, sameText } from '../src/index.js';

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
