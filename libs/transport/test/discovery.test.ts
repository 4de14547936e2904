import { encode, decode } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { placesOf, type Interfaces } from '../src/discovery/network.js';
import {
  answerTo,
  DISCOVERY_LIMITS,
  recordsOf,
  runsIn,
  SERVICE,
  type DnsRecord,
  type RunAdvert,
} from '../src/discovery/records.js';

const ADVERT: RunAdvert = {
  id: 'r-42/x.y',
  name: 'tiny-shakespeare',
  organizer: 'Ada',
  port: 7070,
  path: '',
  address: undefined,
};
const IPS = ['10.0.0.5', '2001:db8::5'];

/** What another machine reads of the records, after they were bytes. */
function sent(advert: RunAdvert = ADVERT, ips: readonly string[] = IPS, ttl?: number): DnsRecord[] {
  const { answers, additionals } = recordsOf(advert, ips, ttl);
  const bytes = encode({ type: 'response', answers, additionals } as never);
  const packet = decode(bytes);
  return [...packet.answers!, ...packet.additionals!] as DnsRecord[];
}
const found = (records: readonly DnsRecord[], sender = '10.0.0.5') => runsIn(records, sender);

describe('a run on the network', () => {
  it('is read as it was told, with the address that it answered from', () => {
    const run = { id: 'r-42/x.y', name: 'tiny-shakespeare', organizer: 'Ada' };
    expect(found(sent())).toEqual([{ ...run, address: 'ws://10.0.0.5:7070' }]);
    expect(found(sent(), '2001:db8::5')).toEqual([{ ...run, address: 'ws://[2001:db8::5]:7070' }]);
    expect(found(sent(), 'fe80::1%eth0')).toEqual([{ ...run, address: 'ws://10.0.0.5:7070' }]);
    expect(found(sent({ ...ADVERT, organizer: undefined, path: '/troupe/control' }))).toEqual([
      { ...run, organizer: undefined, address: 'ws://10.0.0.5:7070/troupe/control' },
    ]);
  });

  it('has the address of its certificate or proxy, if it has one', () => {
    const [run] = found(sent({ ...ADVERT, address: 'wss://lab.example.org:7070' }));
    expect(run.address).toBe('wss://lab.example.org:7070');
  });

  it('is not there any more when its coordinator has said goodbye', () => {
    expect(found(sent(ADVERT, IPS, 0))).toEqual([]);
  });

  it('may have a long name, which is cut between characters', () => {
    const [{ name }] = found(sent({ ...ADVERT, name: 'é'.repeat(150) }));
    expect(name).toBe('é'.repeat(DISCOVERY_LIMITS.textBytes / 2));
  });

  it('tells no token, whatever the settings are', () => {
    expect(JSON.stringify(recordsOf(ADVERT, IPS))).not.toMatch(/token/i);
  });
});

describe('records of a stranger', () => {
  const texts = (entries: readonly string[]): DnsRecord[] =>
    sent().map((record) => (record.type === 'TXT' ? { ...record, data: entries.map((text) => Buffer.from(text)) } : record));
  const good = ['txtvers=1', 'run=r', 'name=n'];

  it('are read if they are right', () => {
    expect(found(texts(good))).toHaveLength(1);
  });

  it.each([
    ['no version', ['run=r', 'name=n']],
    ['another version', ['txtvers=2', 'run=r', 'name=n']],
    ['no name', ['txtvers=1', 'run=r']],
    ['an escape sequence in the name', ['txtvers=1', 'run=r', 'name=\x1b[2Jn']],
    ['a line break in the name', ['txtvers=1', 'run=r', 'name=a\nb']],
    ['a text that turns its direction', ['txtvers=1', 'run=r', 'name=a\u202eb']],
    ['a name that is too long', ['txtvers=1', 'run=r', `name=${'n'.repeat(201)}`]],
    ['an address of a file', [...good, 'at=file:///etc/passwd']],
    ['an address with a token', [...good, 'at=ws://10.0.0.5:7070/join#token=x']],
    ['an address with a user', [...good, 'at=ws://me:pw@10.0.0.5:7070']],
    ['an address with a command', [...good, 'at=ws://10.0.0.5:7070/$(id)']],
    ['a path with a command', [...good, 'path=/;id']],
    ['a path that makes another host', [...good, 'path=@evil.example']],
  ])('are not used with %s', (_, entries) => {
    expect(found(texts(entries))).toEqual([]);
  });

  it.each([
    ['bytes that are no text', { data: [Buffer.from([0x6e, 0x3d, 0xff])] }, 'TXT'],
    ['texts that are no list', { data: 'name=n' }, 'TXT'],
    ['a port of 0', { data: { port: 0, target: 'x.local' } }, 'SRV'],
    ['a port that is none', { data: { port: 65_536, target: 'x.local' } }, 'SRV'],
    ['no place', { data: undefined }, 'SRV'],
    ['a pointer elsewhere', { data: 'x._ssh._tcp.local' }, 'PTR'],
  ])('are not used with %s', (_, change, type) => {
    expect(found(sent().map((record) => (record.type === type ? { ...record, ...change } : record)))).toEqual([]);
  });

  it('are not used without an address that leads somewhere', () => {
    expect(found(sent(ADVERT, ['fe80::1']))).toEqual([]);
    expect(found(sent(ADVERT, []))).toEqual([]);
    expect(found(sent().map((record) => (record.type === 'A' ? { ...record, data: 'evil.example' } : record)))[0].address).toBe(
      'ws://[2001:db8::5]:7070',
    );
  });

  it('are looked at up to a limit', () => {
    const padding = Array.from({ length: DISCOVERY_LIMITS.records }, () => ({ name: 'x', type: 'A', ttl: 1, data: '10.0.0.1' }));
    expect(found([...padding, ...sent()])).toEqual([]);
  });

  it('that point to themselves end', () => {
    const bytes = encode({ type: 'response', answers: recordsOf(ADVERT, IPS).answers } as never);
    // The name of the first record becomes a pointer to itself.
    bytes.writeUInt16BE(0xc00c, 12);
    expect(() => decode(bytes)).toThrow();
  });
});

describe('a query', () => {
  const ask = (name: string, type: string, known: readonly DnsRecord[] = []) => answerTo([{ name, type }], known, ADVERT, IPS);

  it('for the service is answered with everything, unless who asks knows it', () => {
    expect(ask(SERVICE, 'PTR')).toEqual(recordsOf(ADVERT, IPS));
    expect(ask(SERVICE.toUpperCase(), 'ANY')).toEqual(recordsOf(ADVERT, IPS));
    expect(ask(SERVICE, 'PTR', recordsOf(ADVERT, IPS).answers)).toBeUndefined();
    expect(ask(SERVICE, 'PTR', recordsOf(ADVERT, IPS, 10).answers)).toBeDefined();
  });

  it('for a part is answered with that part', () => {
    const [{ data: instance }] = recordsOf(ADVERT, IPS).answers;
    expect(ask(instance as string, 'SRV')!.answers.map(({ type }) => type)).toEqual(['SRV']);
    expect(ask('troupe-r-42-x-y.local', 'A')!.answers.map(({ data }) => data)).toEqual(['10.0.0.5']);
    expect(ask('_services._dns-sd._udp.local', 'PTR')!.answers.map(({ data }) => data)).toEqual([SERVICE]);
  });

  it('for something else is not answered', () => {
    expect(ask('_ssh._tcp.local', 'PTR')).toBeUndefined();
    expect(ask(SERVICE, 'TXT')).toBeUndefined();
  });
});

describe('the networks of a machine', () => {
  const info = (address: string, family: 'IPv4' | 'IPv6', internal = false) => ({
    address,
    family,
    internal,
    scopeid: 3,
    netmask: '',
    mac: '',
    cidr: null,
  });
  const interfaces = {
    lo: [info('127.0.0.1', 'IPv4', true), info('::1', 'IPv6', true)],
    eth0: [info('10.0.0.5', 'IPv4'), info('10.0.0.6', 'IPv4'), info('fe80::1', 'IPv6'), info('2001:db8::5', 'IPv6')],
    wlan0: [info('fe80::2', 'IPv6')],
    gone: undefined,
  } as Interfaces;

  it('are each used with the protocols that they have, and not loopback', () => {
    const ips = ['10.0.0.5', '10.0.0.6', '2001:db8::5'];
    expect(placesOf(interfaces, 'linux')).toEqual([
      { key: 'eth0, udp4', type: 'udp4', interface: '10.0.0.5', ips },
      { key: 'eth0, udp6', type: 'udp6', interface: '::%eth0', ips },
      { key: 'wlan0, udp6', type: 'udp6', interface: '::%wlan0', ips: [] },
    ]);
    expect(placesOf(interfaces, 'win32')[2].interface).toBe('::%3');
  });
});
