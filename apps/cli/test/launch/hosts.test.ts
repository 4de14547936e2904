import { describe, expect, it } from 'vitest';
import { EXAMPLE, localHost, parseHosts } from '../../src/launch/hosts.js';

const DEFAULTS = { engine: 'auto', threads: undefined } as const;
const parse = (text: string) => parseHosts(text, 'lab.txt', DEFAULTS);
const hostsOf = (text: string) => {
  const { hosts, problems } = parse(text);
  expect(problems).toEqual([]);
  return hosts;
};

describe('a hosts file', () => {
  it('gives each host its slots, with names that count through several lines of a host', () => {
    const hosts = hostsOf('lab-01 slots=2 threads=4\n\nlab-02\nme@lab-01 engine=webgpu\n');
    expect(hosts.map(({ label, destination, where }) => [label, destination, where])).toEqual([
      ['lab-01', 'lab-01', 'lab.txt, line 1'],
      ['lab-02', 'lab-02', 'lab.txt, line 3'],
      ['lab-01', 'me@lab-01', 'lab.txt, line 4'],
    ]);
    expect(hosts.flatMap(({ slots }) => slots.map(({ name }) => name))).toEqual(['lab-01/1', 'lab-01/2', 'lab-02/1', 'lab-01/3']);
    expect(hosts[0].slots[1]).toMatchObject({ threads: 4, engine: 'auto', sharedBy: 2 });
  });

  it('may have comments, a byte order mark, CRLF and an environment', () => {
    const [host] = hostsOf('\uFEFF# the lab\r\nlab-01 OMP_NUM_THREADS=4 A=b=c # the fast one\r\n');
    expect(host.slots[0].env).toEqual({ OMP_NUM_THREADS: '4', A: 'b=c' });
  });

  it('lets only the first worker of a line choose a GPU', () => {
    const [auto, wasm] = hostsOf('a slots=2\nb slots=2 engine=wasm');
    expect(auto.slots.map(({ gpu }) => gpu)).toEqual([true, false]);
    expect(wasm.slots.map(({ gpu }) => gpu)).toEqual([true, true]);
  });

  it('takes addresses and URLs as ssh does', () => {
    const hosts = hostsOf('192.168.1.20\nssh://me@lab-03:2222\n::1\nssh://[fe80::1]:22\n_odd.name');
    expect(hosts.map(({ label }) => label)).toEqual(['192.168.1.20', 'lab-03:2222', '::1', '[fe80::1]:22', '_odd.name']);
  });

  it('uses the flags of the command where it says nothing', () => {
    const { hosts } = parseHosts('a\nb threads=2\nc engine=webgpu', 'f', { engine: 'wasm', threads: 6 });
    expect(hosts.map(({ slots: [{ engine, threads }] }) => [engine, threads])).toEqual([
      ['wasm', 6],
      ['wasm', 2],
      ['webgpu', undefined],
    ]);
  });

  it.each([
    ['-oProxyCommand=id', 'a dash may not be first'],
    ['me@-oProxyCommand=id', 'a dash may not be first'],
    ['ssh://-oProxyCommand=id', 'a dash may not be first'],
    ['-Flab', 'a dash may not be first'],
    ['me@-Flab', 'a dash may not be first'],
    ['-me@lab', 'a dash may not be first'],
    ['ssh://-Flab', 'a dash may not be first'],
    ['lab;id', 'letters, digits'],
    ['$(id)', 'letters, digits'],
    ['lab-01:2222', 'Write the port as ssh://lab-01:2222.'],
    ['threads=8', 'Write the name of the host first: lab-01 threads=8.'],
    ['lab-01 8', 'Write slots=8 or threads=8.'],
    ['lab-01 thread=8', 'Use slots=N, threads=N'],
    ['lab-01 slots=0', 'Give slots a whole number from 1 to 64.'],
    ['lab-01 slots=65', 'Give slots a whole number from 1 to 64.'],
    ['lab-01 threads=many', 'Give threads a whole number from 1 to 256.'],
    ['lab-01 engine=cuda', 'Give engine one of auto'],
    ['lab-01 engine=webgpu threads=8', 'Leave threads out, or choose native, wasm or auto.'],
    ['lab-01 threads=8 threads=4', 'Leave one of them out.'],
    ['lab-01 TROUPE_TOKEN=secret', 'in the environment'],
    ['lab-01 listen=yes', 'Give listen a port, or a host and a port such as 10.0.0.5:7080.'],
    ['lab-01 listen=a:b:7080', 'Give listen a port, or a host and a port'],
    ['lab-01 listen=70000', 'Give a port up to 65535'],
    ['lab-01 slots=3 listen=10.0.0.5:65534', 'Give a port up to 65533: listen=10.0.0.5:7080.'],
    ['lab-01 tls-cert=a.pem tls-key=a.key', 'Give listen=PORT as well'],
    ['lab-01 listen=7080 tls-cert=a.pem', 'Give both, or neither.'],
  ])('refuses the line "%s" and says what is right', (line, remedy) => {
    const { hosts, problems } = parse(`ok\n${line}\nalso-ok`);
    expect(problems).toHaveLength(1);
    expect(problems[0].message).toMatch(/^lab\.txt, line 2: /);
    expect(problems[0].remedy).toContain(remedy);
    expect(problems[0].message + problems[0].remedy).not.toContain('secret');
    expect(hosts).toHaveLength(2);
  });

  it('gives the workers of a line consecutive ports to listen on', () => {
    const [one, two, any, none] = hostsOf(
      'a slots=2 listen=7080\nb slots=2 listen=[fe80::1]:7080 tls-cert=b.pem tls-key=b.key\nc slots=2 listen=0\nd',
    );
    const places = ({ slots }: typeof one) => slots.map(({ listen }) => listen?.at);
    expect([one, two, any, none].map(places)).toEqual([
      ['7080', '7081'],
      ['[fe80::1]:7080', '[fe80::1]:7081'],
      ['0', '0'],
      [undefined],
    ]);
    expect(two.slots[1].listen!.tls).toEqual({ cert: 'b.pem', key: 'b.key' });
  });

  it('refuses ports that two lines of a host would share, and names both', () => {
    const { hosts, problems } = parse('a slots=3 listen=7080\nb listen=7081\nme@a engine=webgpu listen=7082\na listen=7083');
    expect(problems).toEqual([
      {
        message:
          'lab.txt, line 3: port 7082 of a is taken already by lab.txt, line 1; the workers of a line have consecutive ports.',
        remedy: 'Give another port: listen=7083.',
      },
    ]);
    expect(hosts).toHaveLength(3);
  });

  it('tells of every wrong line', () => {
    expect(parse('a x\nb\nc y').problems.map(({ message }) => message)).toEqual([
      'lab.txt, line 1: x is not a setting.',
      'lab.txt, line 3: y is not a setting.',
    ]);
  });

  it('that names no host is refused', () => {
    expect(parse('# nobody\n').problems[0].message).toBe('lab.txt names no host.');
  });

  it('that --init writes is right', () => {
    expect(hostsOf(EXAMPLE)).toHaveLength(5);
  });
});

it('workers on this machine need no ssh', () => {
  const host = localHost(2, { engine: 'auto', threads: 3 });
  expect(host.destination).toBeUndefined();
  expect(host.slots.map(({ name, threads }) => [name, threads])).toEqual([
    ['local/1', 3],
    ['local/2', 3],
  ]);
});
