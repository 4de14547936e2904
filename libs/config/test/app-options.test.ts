import { describe, expect, it } from 'vitest';
import { describeOptions, readOptions, type AppOption } from '../src/index.js';

const TABLE = [
  { flag: '--port', type: 'whole', placeholder: 'P', group: 'Network', max: 65_535, default: '7071', help: 'a port' },
  { flag: '--rate', type: 'real', placeholder: 'X', group: 'Network', min: 0.5, max: 2, help: 'a rate' },
  { flag: '--cell', type: 'choice', placeholder: 'C', group: 'Network', choices: ['lstm', 'gru'], help: 'a cell' },
  {
    flag: '--token',
    type: 'text',
    placeholder: 'T',
    group: 'Network',
    env: 'TOKEN',
    secret: true,
    maxLength: 8,
    required: 'Ask.',
    help: 'x',
  },
  {
    flag: '--day',
    type: 'text',
    placeholder: 'D',
    group: 'Network',
    form: { matches: /^\d\d$/, words: 'a day as 07' },
    help: 'a day',
  },
  { flag: '--json', type: 'switch', group: 'Output', help: 'JSON' },
] as const satisfies readonly AppOption[];

const read = (given: Record<string, string>, env: Record<string, string> = {}) =>
  readOptions(TABLE, new Map(Object.entries({ '--token': 't', ...given })), env);

describe('the flags of an app', () => {
  it('have the types of their table, and its defaults', () => {
    expect(read({})).toEqual({
      ok: true,
      values: { '--port': 7071, '--rate': undefined, '--cell': undefined, '--token': 't', '--day': undefined, '--json': false },
    });
    expect(read({ '--port': '0', '--rate': '1.5', '--cell': 'gru', '--json': 'true' })).toMatchObject({
      values: { '--port': 0, '--rate': 1.5, '--cell': 'gru', '--json': true },
    });
  });

  it('come from the environment when they are not given, unless the variable is empty', () => {
    const fromEnv = (TOKEN: string) => readOptions(TABLE, new Map(), { TOKEN });
    expect(fromEnv('secret')).toMatchObject({ values: { '--token': 'secret' } });
    expect(fromEnv('')).toMatchObject({ ok: false, message: '--token is missing.' });
  });

  it.each([
    [{ '--port': '65536' }, '--port 65536 is not a whole number from 0 to 65535.'],
    [{ '--port': '-1' }, '--port -1 is not a whole number from 0 to 65535.'],
    [{ '--port': '1e3' }, '--port 1e3 is not a whole number'],
    [{ '--rate': '' }, '--rate "" is not a number from 0.5 to 2.'],
    [{ '--rate': '3' }, '--rate 3 is not a number from 0.5 to 2.'],
    [{ '--day': '7' }, '--day 7 is not a day as 07.'],
    [{ '--cell': 'toString' }, '--cell toString is not one of lstm, gru.'],
  ])('are refused with what they must be: %j', (given, message) => {
    expect(read(given)).toMatchObject({ ok: false, message: expect.stringContaining(message) as string });
  });

  it('never repeat a secret', () => {
    expect(JSON.stringify(read({ '--token': 'much-too-long' }))).not.toContain('much');
  });

  it('show in the help with their defaults', () => {
    const help = describeOptions(TABLE);
    expect(help).toContain('  --port P    a port (default: 7071)');
    expect(help).toContain('x (default: TOKEN)');
    expect(help.split('\n')).toHaveLength(TABLE.length);
  });
});
