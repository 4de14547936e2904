import { describe, expect, it } from 'vitest';
import { createReduceHosts } from '../src/reduce-hosts.js';

/** Which of the addresses a worker connects to, whose coordinator is at `coordinator`. */
function chosen(
  coordinator: string | undefined,
  addresses: string[],
  allowed: string[] = [],
  host = 'sums.example',
): readonly string[] {
  const hosts = createReduceHosts(allowed);
  hosts.coordinatorIsAt(coordinator);
  return hosts.choose(`ws://${host}:7071/reduce`, addresses);
}

describe('a coordinator', () => {
  const refusal = expect.objectContaining({ code: 'refused', remedy: expect.stringContaining('--allow-reduce-host') as string });

  it.each([
    ['93.184.216.34', '127.0.0.1'],
    ['93.184.216.34', '10.0.0.1'],
    ['93.184.216.34', '172.31.0.1'],
    ['93.184.216.34', '::ffff:192.168.1.1'],
    ['93.184.216.34', '169.254.169.254'],
    ['2001:db8::1', 'fd00::1'],
    ['2001:db8::1', '::1'],
    ['10.0.0.1', '127.0.0.1'],
    ['10.0.0.1', 'fe80::1%eth0'],
    ['10.0.0.1', '0.0.0.0'],
    [undefined, '10.0.0.1'],
  ])('at %s cannot send a worker to %s', (coordinator, target) => {
    expect(() => chosen(coordinator, [target])).toThrow(refusal);
    expect(chosen(coordinator, [target], ['sums.example'])).toEqual([target]);
    expect(chosen(coordinator, [target], ['*'])).toEqual([target]);
  });

  it.each([
    ['93.184.216.34', '8.8.8.8'],
    ['10.0.0.1', '10.0.0.2'],
    ['10.0.0.1', '192.168.7.7'],
    ['10.0.0.1', '8.8.8.8'],
    ['::ffff:10.0.0.1', '10.0.0.2'],
    ['127.0.0.1', '127.0.0.1'],
    ['::1', '10.0.0.1'],
    [undefined, '8.8.8.8'],
  ])('at %s may send a worker to %s', (coordinator, target) => expect(chosen(coordinator, [target])).toEqual([target]));

  it('may send a worker to the addresses of a name that are not nearer', () => {
    expect(chosen('2001:db8::1', ['10.0.0.1', '2001:db8::1'])).toEqual(['2001:db8::1']);
  });
});
