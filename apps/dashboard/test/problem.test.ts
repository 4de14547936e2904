import { expect, it } from 'vitest';
import { problemText } from '../src/reading/problem.js';

it.each([
  ['the token is wrong', 'Ask for another link.', 'the token is wrong. Ask for another link.'],
  ['The token is wrong.', 'Ask for another link.', 'The token is wrong. Ask for another link.'],
  ['no answer', '', 'no answer.'],
  ['no answer', undefined, 'no answer.'],
])('joins %j and %j as sentences', (message, remedy, text) => expect(problemText(message, remedy)).toBe(text));
