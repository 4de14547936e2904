import { expect, describe, it } from 'vitest';
import { advertOf, checkDiscoverable } from '../src/discoverable.js';
import { parseSettings } from '../src/settings.js';

describe('a run that can be found', () => {
  const check = (...args: string[]) => checkDiscoverable(parseSettings(args, {}));

  it.each([['127.0.0.1'], ['localhost'], ['::1']])('is refused at %s, which no other machine reaches', (host) => {
    expect(() => check('--discoverable', '--host', host)).toThrow(
      expect.objectContaining({ remedy: expect.stringContaining('0.0.0.0') }),
    );
  });

  it('is one with any other address, or behind a proxy with a name', () => {
    expect(() => check('--host', '127.0.0.1')).not.toThrow();
    expect(() => check('--discoverable', '--host', '0.0.0.0')).not.toThrow();
    expect(() => check('--discoverable', '--behind-proxy', '--allow-host', 'train.example.org')).not.toThrow();
    expect(() => check('--discoverable', '--behind-proxy')).toThrow();
  });

  const settings = { name: undefined, organizer: 'Ada', corpus: '/home/ada/sonnets.txt', host: '0.0.0.0' };
  const mount = (outside: string, prefix = '') => ({
    prefix,
    addresses: () => ({ address: `ws://[::]:7070${prefix}`, localAddress: undefined, here: '', outside: outside + prefix }),
  });

  it('tells its port and the name of its text, and leaves the address to each network', () => {
    const advert = { id: 'r', name: 'sonnets.txt', organizer: 'Ada', port: 7070, path: '', address: undefined };
    expect(advertOf('r', mount('http://10.0.0.5:7070'), settings)).toEqual(advert);
    expect(advertOf('r', mount('http://10.0.0.5:7070'), { ...settings, name: 'Sonnets' }).name).toBe('Sonnets');
    expect(advertOf('r', mount('http://10.0.0.5:7070', '/one'), settings).path).toBe('/one/control');
  });

  it.each([
    ['https://lab.example.org:7070', '0.0.0.0', '', 'wss://lab.example.org:7070'],
    ['https://train.example.org', '127.0.0.1', '/one', 'wss://train.example.org/one/control'],
    ['http://lab:7070', 'lab', '', 'ws://lab:7070'],
  ])('at %s with --host %s is reached by its name', (outside, host, prefix, address) => {
    expect(advertOf('r', mount(outside, prefix), { ...settings, host }).address).toBe(address);
  });
});
