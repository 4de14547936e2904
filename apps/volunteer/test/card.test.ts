import { describe, expect, it } from 'vitest';
import { cardSvg, quotedLine, type CardFacts } from '../src/decisions/card.js';

const FACTS: CardFacts = {
  ...{ name: 'Ada', team: 'Lab', run: 'Sonnets', amount: '12,000 characters computed', part: '3.1% of this run' },
  ...{ line: 'Shall I compare thee', source: 'written by the model after round 9', language: 'en' },
};

describe('the line on the card', () => {
  it.each([
    ['st of the cut\nShall I compare thee to a summer\nThou art\nand the cut e', 'Shall I compare thee to a summer'],
    ['a\nThou art more\nb\nc', 'Thou art more'],
    ['one line alone', 'one line alone'],
    ['', ''],
    ['\n\n', ''],
    [`x\n${'word '.repeat(40)}\ny`, 'x'],
    ['w'.repeat(200), `${'w'.repeat(63)}…`],
    [`${'word '.repeat(40)}`, `${'word '.repeat(11)}word…`],
  ])('of %j is %j', (sample, line) => expect(quotedLine(sample)).toBe(line));
});

describe('the card', () => {
  it('says who computed how much of what, and what the model writes', () => {
    const svg = cardSvg(FACTS);
    for (const words of ['Ada · Lab', 'Sonnets', '12,000 characters', '3.1%', '“Shall I compare thee”', 'after round 9'])
      expect(svg).toContain(words);
  });

  it('leaves out what is unknown', () => {
    const svg = cardSvg({ ...FACTS, name: '', team: '', part: '', line: '' });
    expect(svg).not.toMatch(/“|·|written by|><\/text>/);
  });

  it('holds any text as text, and needs nothing from elsewhere', () => {
    const svg = cardSvg({ ...FACTS, name: '<script>&"\'\u0000\ud800', run: ']]><a href="x">', line: '<b>' });
    for (const markup of ['<script', '<a ', '<b>', '\u0000']) expect(svg).not.toContain(markup);
    expect(svg).toContain('&#60;script&#62;&#38;&#34;&#39;');
    expect(svg.replace('xmlns="http://www.w3.org/2000/svg"', '')).not.toContain('http');
  });

  it('squeezes a long name instead of cutting the card', () => {
    expect(cardSvg({ ...FACTS, run: 'W'.repeat(60) })).toMatch(/textLength="1060"[^>]*>W{60}/);
    expect(cardSvg(FACTS)).not.toContain('textLength');
  });
});
