import { describe, expect, it } from 'vitest';
import { readSettings } from '../src/settings.js';

const LINK = 'https://lab:7070/join/#token=linked';
const ADDRESS = 'wss://lab:7070/control';

describe('the settings of a worker', () => {
  it('take a name with "#" as a name', () => {
    const settings = readSettings(['--name', 'rack #2', 'ws://lab:7070', '--token', 't'], {});
    expect(settings).toMatchObject({ name: 'rack #2', address: 'ws://lab:7070/control', token: 't' });
  });

  it('take a token with "#" as a token, and no message repeats it', () => {
    expect(readSettings(['--token', 'a%zz#b', 'ws://lab:7070'], {}).token).toBe('a%zz#b');
  });

  it.each([
    [['--name', 'gpu#1', LINK], {}, 'linked'],
    [[LINK], { TROUPE_TOKEN: 'environment' }, 'linked'],
    [[LINK, '--token', 'flag'], { TROUPE_TOKEN: 'environment' }, 'flag'],
    [['wss://lab:7070'], { TROUPE_TOKEN: 'environment' }, 'environment'],
  ])('of %j with %j have the token %s', (args, env, token) => {
    expect(readSettings(args, env)).toMatchObject({ address: ADDRESS, token });
  });

  it.each([[[]], [['ws://a', 'ws://b']]])('of the addresses %j are refused', (args) => {
    expect(() => readSettings(args, { TROUPE_TOKEN: 't' })).toThrow('A worker needs one address.');
  });
});
