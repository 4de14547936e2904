import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { shellAssignment, shellQuote } from '../src/shell.js';

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

describe('a variable in front of a command', () => {
  it.each(['-dash', '', 'a b', "it's"])('has its value unchanged: %j', (value) => {
    const line = `${shellAssignment('TOKEN', value)} sh -c 'printf %s "$TOKEN"'`;
    expect(execFileSync('/bin/sh', ['-c', line], { encoding: 'utf8' })).toBe(value);
  });
});
