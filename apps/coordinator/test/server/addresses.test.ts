import { describe, expect, it } from 'vitest';
import { isLoopback } from '@troupe/process';
import { addressesOf, type Site } from '../../src/server/addresses.js';

const LAN = '192.168.1.20';
const of = (site: Partial<Site>) =>
  addressesOf({ host: '0.0.0.0:7070', certificate: undefined, behindProxy: false, allowedHosts: [], ...site }, [LAN, '10.0.0.5']);
const certificate = (...names: string[]) => ({ names, covers: (name: string) => names.includes(name) });

describe('the printed addresses', () => {
  it('are the LAN address for other machines and the loopback for this one', () => {
    for (const host of ['0.0.0.0:7070', '[::]:7070']) {
      expect(of({ host })).toEqual({ here: 'http://127.0.0.1:7070', outside: `http://${LAN}:7070` });
    }
    expect(of({ host: '127.0.0.1:1' })).toEqual({ here: 'http://127.0.0.1:1', outside: 'http://127.0.0.1:1' });
    expect(of({ host: '[::1]:1' }).outside).toBe('http://[::1]:1');
  });

  it('are names in the certificate', () => {
    const lab = of({ certificate: certificate('localhost', 'lab.example') });
    expect(lab).toEqual({ here: 'https://localhost:7070', outside: 'https://lab.example:7070' });
    const bare = of({ certificate: certificate('lab.example', LAN) });
    expect(bare).toEqual({ here: `https://${LAN}:7070`, outside: `https://${LAN}:7070` });
    const six = of({ certificate: certificate('2001:db8::7') });
    expect(six.outside).toBe('https://[2001:db8::7]:7070');
  });

  it('are not names that only this machine can reach, and are the address in the certificate if there are several', () => {
    const loopback = certificate('localhost', '127.0.0.1', '::1');
    expect(of({ certificate: loopback }).outside).toBe(`https://${LAN}:7070`);
    expect(of({ certificate: certificate('localhost', '127.0.0.1', '10.0.0.5') }).outside).toBe('https://10.0.0.5:7070');
    const alone = of({ host: '127.0.0.1:7070', certificate: certificate('lab.example') });
    expect(alone).toEqual({ here: 'https://127.0.0.1:7070', outside: 'https://127.0.0.1:7070' });
  });

  it('prefer a given name', () => {
    const wild = { names: [], covers: (name: string) => name.endsWith('.example') };
    expect(of({ certificate: wild, allowedHosts: ['*', 'train.example'] }).outside).toBe('https://train.example:7070');
    expect(of({ certificate: wild, allowedHosts: ['train.example:8443'] }).outside).toBe('https://train.example:7070');
    expect(of({ certificate: wild }).outside).toBe(`https://${LAN}:7070`);
  });

  it('are those of the proxy', () => {
    const behind = of({ host: '127.0.0.1:7070', behindProxy: true, allowedHosts: ['train.example', 'other.example'] });
    expect(behind).toEqual({ here: 'https://train.example', outside: 'https://train.example' });
    expect(of({ host: '127.0.0.1:7070', behindProxy: true, allowedHosts: ['*'] }).outside).toBe('http://127.0.0.1:7070');
  });
});

it('distinguishes the loopback from addresses that other machines can reach', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', 'localhost', '::1', '[::1]']) expect(isLoopback(host)).toBe(true);
  for (const host of ['0.0.0.0', '::', '10.0.0.1', 'lab.example', '127.0.0.1.example']) expect(isLoopback(host)).toBe(false);
});
