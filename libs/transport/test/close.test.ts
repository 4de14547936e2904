import { describe, expect, it } from 'vitest';
import { closeInfo, closeReason } from '../src/close.js';

describe('the reason of a close frame', () => {
  it.each([
    ['one that fits', 'leaving', 'leaving'],
    ['ASCII', 'x'.repeat(200), 'x'.repeat(123)],
    ['two bytes a character', 'ü'.repeat(100), 'ü'.repeat(61)],
    ['four bytes a character', '🎭'.repeat(100), '🎭'.repeat(30)],
    ['a long character at the end', `${'x'.repeat(122)}ü`, 'x'.repeat(122)],
  ])('is cut between two characters, with %s', (_, reason, cut) => {
    expect(closeReason(reason)).toBe(cut);
  });
});

it.each([
  [1000, 'done', { kind: 'clean', reason: 'done' }],
  [1001, '', { kind: 'clean', reason: 'the other side closed' }],
  [1005, '', { kind: 'clean', reason: 'the other side closed' }],
  [1006, '', { kind: 'lost', reason: 'the connection broke off' }],
  [1009, 'too large', { kind: 'lost', reason: 'the other side closed it with code 1009: too large' }],
  [4000, '', { kind: 'lost', reason: 'the other side closed it with code 4000' }],
])('close code %i with reason "%s" says how the link ended', (code, reason, info) => {
  expect(closeInfo(code, reason)).toEqual(info);
});
