import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Interrupted } from '../src/errors.js';
import { main } from '../src/main.js';
import { askHidden, processShell, type Shell } from '../src/shell.js';

function question() {
  const input = new PassThrough();
  let shown = '';
  const answer = askHidden('Token: ', input, { write: (text: string) => (shown += text) });
  return { input, answer, shown: () => shown };
}

describe('a question on the terminal', () => {
  it('is answered by a line, which is not shown', async () => {
    const { input, answer, shown } = question();
    input.write('secret\r');
    expect(await answer).toBe('secret');
    expect(shown()).toBe('Token: \n');
  });

  it.each([
    ['Ctrl-C', '\x03'],
    ['Ctrl-D', '\x04'],
  ])('is ended by %s', async (_, key) => {
    const { input, answer } = question();
    input.write(key);
    await expect(answer).rejects.toBeInstanceOf(Interrupted);
  });

  it('is ended when the terminal is gone', async () => {
    const { input, answer } = question();
    input.end();
    await expect(answer).rejects.toBeInstanceOf(Interrupted);
  });

  it('ends the command quietly with exit code 130 when it is ended', async () => {
    let told = '';
    const output = { write: (text: string) => (told += text) };
    const ask = (): Promise<string> => Promise.reject(new Interrupted());
    const shell: Shell = { ...processShell(), env: {}, stdout: output, stderr: output, ask };
    expect([await main(['worker', 'ws://lab:7070'], shell), told]).toEqual([130, '']);
  });
});
