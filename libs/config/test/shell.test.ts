import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { shellQuote } from '../src/shell.js';

describe('a word quoted for the shell', () => {
  it('stays as it is when the shell would not change it', () => {
    expect(shellQuote('runs/001')).toBe('runs/001');
  });

  it.each(['', 'a b', "it's here", '"x"', '$HOME', '`id`', '~', '*', 'a;b', 'two\nlines', '你好.txt', '\\'])(
    'reaches a program unchanged: %j',
    (word) => {
      expect(execFileSync('/bin/sh', ['-c', `printf %s ${shellQuote(word)}`], { encoding: 'utf8' })).toBe(word);
    },
  );

  it('is not taken for a flag when it begins with a dash', () => {
    expect(shellQuote('-rf')).toBe('./-rf');
    expect(shellQuote('--out file')).toBe("'./--out file'");
  });
});
