import { describe, expect, it } from 'vitest';
import { LiveOutput, type OutputStream } from '../src/index.js';

/** A stream whose writes end when the test says so. */
function stream() {
  const written: string[] = [];
  const pending: ((error?: Error) => void)[] = [];
  const write = (text: string, done: (error?: Error) => void) => (written.push(text), pending.push(done), false);
  const fake = { write, on: () => fake, isTTY: false, columns: 80 } as unknown as OutputStream;
  const end = async (error?: Error) => {
    pending.shift()!(error);
    await Promise.resolve();
  };
  return { fake, written, end };
}

const failed = (code: string) => Object.assign(new Error(code), { code });

describe('an output that nobody reads', () => {
  it('takes lines at once, and writes them in order when it is read again', async () => {
    const { fake, written, end } = stream();
    const output = new LiveOutput(fake);
    for (const text of ['a\n', 'b\n', 'c\n']) output.write(text);
    expect(written).toEqual(['a\n']);
    expect(output.isStalled).toBe(true);
    await end();
    expect(written).toEqual(['a\n', 'b\nc\n']);
    expect(output.isStalled).toBe(false);
  });

  it('drops the oldest lines above its bound, and says how many', async () => {
    const { fake, written, end } = stream();
    const output = new LiveOutput(fake, { keepCharacters: 8, missing: (lines) => `<${lines} lost>` });
    for (let i = 0; i < 10; i++) output.write(`${i}${i}\n`);
    await end();
    expect(written).toEqual(['00\n', '<7 lost>\n88\n99\n']);
  });

  it('does not hold up a process that was asked to stop', async () => {
    const { fake } = stream();
    const output = new LiveOutput(fake);
    output.write('a\n');
    const stop = new AbortController();
    const flushed = output.flush(stop.signal, 1);
    stop.abort();
    expect(await flushed).toBe(false);
  });
});

describe('an output that fails', () => {
  it('on a full disk continues with the next lines, counts those that are missing, and keeps the reason', async () => {
    const { fake, written, end } = stream();
    const output = new LiveOutput(fake, { missing: (lines) => `<${lines} lost>` });
    output.write('a\nb\n');
    await end(failed('ENOSPC'));
    output.write('c\n');
    await end(failed('ENOSPC'));
    output.write('d\n');
    await end();
    expect(written.at(-1)).toBe('<3 lost>\nd\n');
    expect(output.failure).toMatchObject({ code: 'ENOSPC' });
    expect(output.gone.aborted).toBe(false);
    expect(await output.flush()).toBe(true);
  });

  it.each(['EPIPE', 'EIO'])('with %s has lost its reader, and drops the rest', async (code) => {
    const { fake, written, end } = stream();
    const output = new LiveOutput(fake);
    output.write('a\n');
    output.write('b\n');
    await end(failed(code));
    output.write('c\n');
    expect(written).toEqual(['a\n']);
    expect(output.gone.aborted).toBe(true);
    expect(output.failure).toBeUndefined();
    expect(await output.flush()).toBe(true);
  });
});
