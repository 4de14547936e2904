import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemProblem } from '../src/index.js';

describe('an error of the operating system', () => {
  it('names the path and the cause, and says what to do', () => {
    const denied = Object.assign(new Error("EACCES: permission denied, mkdir '/srv/x'"), {
      code: 'EACCES',
      syscall: 'mkdir',
      path: '/srv/x',
    });
    expect(systemProblem(denied)).toEqual({
      message: '/srv/x: permission denied (EACCES, mkdir).',
      remedy: 'This user has no permission for it. Change its permissions, or choose another place.',
    });
  });

  it('is recognised as Node throws it', () => {
    let thrown: unknown;
    try {
      readFileSync('/no/such/file');
    } catch (error) {
      thrown = error;
    }
    expect(systemProblem(thrown)).toMatchObject({ message: '/no/such/file: no such file or folder (ENOENT, open).' });
  });

  it.each([new Error('a bug'), Object.assign(new Error('x'), { code: 'closed' }), 'a text'])('is not %s', (error) => {
    expect(systemProblem(error)).toBeUndefined();
  });
});
