import { describe, expect, it } from 'vitest';
import { joinTarget, UsageError } from '../src/index.js';

describe('the address that a worker joins', () => {
  it.each([
    ['lab:7070', 'ws://lab:7070/control'],
    ['ws://lab:7070', 'ws://lab:7070/control'],
    ['ws://lab:7070/control', 'ws://lab:7070/control'],
    ['ws://lab:7070/one/control', 'ws://lab:7070/one/control'],
    ['wss://lab/troupe', 'wss://lab/troupe/control'],
    ['https://lab/a/troupe/', 'wss://lab/a/troupe/control'],
    ['https://train.example.org', 'wss://train.example.org/control'],
    ['[::1]:7070', 'ws://[::1]:7070/control'],
    ['ws://bücher.example:7070', 'ws://xn--bcher-kva.example:7070/control'],
  ])('%s is %s', (text, address) => expect(joinTarget(text)).toEqual({ address }));

  it('is taken from the link for volunteers, with the token, below any path', () => {
    expect(joinTarget('https://train.example.org/join/#token=a%20b')).toEqual({
      address: 'wss://train.example.org/control',
      token: 'a b',
    });
    expect(joinTarget('http://lab:7070/troupe/join/#token=t')).toEqual({ address: 'ws://lab:7070/troupe/control', token: 't' });
  });

  it.each([
    ['ws://lab:99999', 'ports end at 65535, and this one is 99999'],
    ['https://lab:99999/join/#token=secret', 'https://lab:99999/join/#... is not an address'],
    ['::1', 'is not an address'],
    ['ws://', 'is not an address'],
    ['ftp://lab', 'is not the address of a coordinator'],
    ['http://lab:7070/#admin=secret', 'the link of the dashboard'],
  ])('cannot be %s, with a sentence', (text, message) => {
    const join = () => joinTarget(text);
    expect(join).toThrow(UsageError);
    expect(join).toThrow(message);
    expect(join).not.toThrow('secret');
  });
});
