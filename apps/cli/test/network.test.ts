/** What `troupe doctor --network` says of what it has measured. */
import { PROTOCOL_VERSION } from '@troupe/protocol';
import { placeOfIceUrl, type IceAnswer } from '@troupe/transport/webrtc-node';
import { describe, expect, it } from 'vitest';
import { membershipOf } from '../src/network/coordinator.js';
import type { ChannelFacts, DirectFacts, Finding, Outcome, ServerFacts } from '../src/network/facts.js';
import {
  channelFinding,
  connectionFinding,
  latencyFinding,
  nameFinding,
  serverFinding,
  tokenFinding,
} from '../src/network/findings.js';
import { judge } from '../src/network/verdict.js';
import { readNetworkView } from '../src/network/view.js';
import { troupe } from './fixtures/shell.js';

const STUN = 'stun:relay.example:3478';
const TURN = 'turn:relay.example:3478';
const OVER_TCP = 'turn:relay.example:443?transport=tcp';

const answers: IceAnswer = { kind: 'answered', ms: 12.3, seenAs: '203.0.113.7:5000' };
const relays: IceAnswer = { ...answers, relay: '198.51.100.1:49152' };
const refuses: IceAnswer = { kind: 'refused', code: 401, reason: 'Unauthorized' };
const silent: IceAnswer = { kind: 'silent' };
const server = (url: string, answer: IceAnswer | undefined, overTcp?: IceAnswer): ServerFacts => ({
  url,
  place: placeOfIceUrl(url),
  answer,
  ...(overTcp && { overTcp }),
});

const channel: Outcome<ChannelFacts> = { ok: true, value: { ms: 80, addresses: ['10.0.0.9'] } };
const broken: Outcome<ChannelFacts> = {
  ok: false,
  problem: { message: 'no data channel opened', remedy: 'Look at the firewall.' },
};
const fine: Finding[] = [{ check: 'token', level: 'ok', text: 'accepted' }];
const facts = (change: Partial<DirectFacts>): DirectFacts => ({ topology: 'auto', channel, servers: [], ...change });

describe('the verdict', () => {
  it.each<[what: string, DirectFacts, direct: string, text: RegExp, remedy: RegExp | undefined]>([
    ['a run that uses no links', facts({ topology: 'star', channel: undefined }), 'unused', /--topology star/, undefined],
    ['no library', facts({ channel: undefined }), 'noWebRtc', /nothing is lost/, /npm install .*node-datachannel/],
    ['a library that opens nothing', facts({ channel: broken }), 'noWebRtc', /nothing is lost/, /firewall on this machine/],
    ['servers that are unknown', facts({ servers: undefined }), 'unknown', /were not checked/, undefined],
    ['no servers', facts({}), 'local', /its own network/, /--ice-servers stun:HOST:3478/],
    ['a STUN server', facts({ servers: [server(STUN, answers)] }), 'direct', /names no TURN server/, /add a TURN server/],
    [
      'a TURN server that gives a relay',
      facts({ servers: [server(STUN, answers), server(TURN, relays)] }),
      'relayed',
      /gives it a relay/,
      undefined,
    ],
    [
      'a TURN server that refuses the credentials, which shows that UDP passes',
      facts({ servers: [server(TURN, refuses)] }),
      'direct',
      /UDP passes.*no TURN server gives/,
      /TROUPE_TURN_SECRET.*clocks/,
    ],
    [
      'a TURN server that is down',
      facts({ servers: [server(STUN, answers), server(TURN, silent, silent)] }),
      'direct',
      /no TURN server gives/,
      /TURN server runs/,
    ],
    [
      'a server that answers over TCP alone',
      facts({ servers: [server(STUN, silent, answers)] }),
      'udpBlocked',
      /UDP does not pass between this machine and relay\.example.*nothing is lost/,
      /--ice-servers 'turn:HOST:443\?transport=tcp'.*Node use UDP alone/,
    ],
    [
      'blocked UDP, and a relay for browsers',
      facts({ servers: [server(TURN, silent, relays), server(OVER_TCP, relays)] }),
      'udpBlocked',
      /Browsers on this machine can use the relay turn:relay\.example:443/,
      undefined,
    ],
    [
      'servers that do not answer at all, which may be down',
      facts({ servers: [server(STUN, silent, { kind: 'unreachable', reason: 'ECONNREFUSED' })] }),
      'silent',
      /they are down, or something on the way blocks UDP/,
      /servers run/,
    ],
    [
      'servers for browsers alone',
      facts({ servers: [server(OVER_TCP, relays)] }),
      'silent',
      /names no STUN or TURN server over UDP/,
      /./,
    ],
  ])('on %s', (_, direct, path, text, remedy) => {
    const verdict = judge(fine, direct);
    expect(verdict).toMatchObject({ canJoin: true, direct: path });
    expect(verdict.text).toMatch(text);
    if (remedy) expect(verdict.remedy).toMatch(remedy);
    else expect(verdict).not.toHaveProperty('remedy');
  });

  it('says that a worker could not join, whatever else works', () => {
    const fault: Finding = { check: 'all-reduce', level: 'fault', text: 'nothing listens at sums:7071', remedy: 'Start it.' };
    expect(judge([...fine, fault], facts({}))).toEqual({
      canJoin: false,
      text: 'A worker on this machine could not join: nothing listens at sums:7071.',
      remedy: 'Start it.',
    });
  });

  it('claims no more than that the coordinator is reached when the token was not checked', () => {
    for (const level of ['skipped', 'limit'] as const) {
      const { canJoin, text, direct } = judge([{ check: 'token', level, text: 'not checked' }], undefined);
      expect([canJoin, direct, /Whether it may join was not checked/.test(text)]).toEqual([true, undefined, true]);
    }
  });
});

describe('the findings', () => {
  it('have their figures', () => {
    const lookedUp = { ok: true, value: { addresses: ['10.0.0.5', '::1'], ms: 1.25 } } as const;
    expect(nameFinding('lab', lookedUp).text).toBe('lab is 10.0.0.5, ::1 (1.3 ms)');
    const tls = { version: 'TLSv1.3', ms: 12.4 };
    expect(connectionFinding({ ok: true, value: { tcpMs: 3, tls } }).text).toBe('TCP in 3.0 ms, TLSv1.3 in 12 ms');
    const proxy = 'the proxy squid:3128 (of HTTPS_PROXY)';
    expect(connectionFinding({ ok: true, value: { tcpMs: 3, proxy } }).text).toBe(`TCP to ${proxy} in 3.0 ms`);
    const latency = { medianMs: 20.4, mostMs: 31, requests: 10 };
    expect(latencyFinding({ ok: true, value: latency }).text).toMatch(/^20 ms .*median of 10; at most 31 ms/);
    expect(channelFinding(channel)).toMatchObject({ level: 'ok', text: expect.stringContaining('80 ms; addresses: 10.0.0.9') });
    expect(serverFinding(server(TURN, relays)).text).toBe(
      'answers in 12 ms; it sees this machine as 203.0.113.7:5000; it relays from 198.51.100.1:49152',
    );
  });

  it.each<[ServerFacts, string, RegExp, RegExp | undefined]>([
    [server(TURN, refuses), 'limit', /refuses the credentials \(401\)/, /TROUPE_TURN_SECRET/],
    [server(TURN, { kind: 'failed', code: 486, reason: 'Quota' }), 'limit', /gives no relay \(486 Quota\)/, /full/],
    [server(STUN, silent, answers), 'limit', /does not answer; over TCP it answers/, undefined],
    [server(STUN, silent, silent), 'limit', /does not answer; nor does it over TCP/, undefined],
    [server(STUN, { kind: 'unreachable', reason: 'ENOTFOUND' }), 'limit', /cannot be reached: ENOTFOUND/, undefined],
    [server('turns:relay.example?transport=udp', undefined), 'skipped', /TLS over UDP/, undefined],
  ])('of %j', (asked, level, text, remedy) => {
    const finding = serverFinding(asked);
    expect(finding).toMatchObject({ check: asked.url, level, text: expect.stringMatching(text) });
    expect(finding.remedy ?? '').toMatch(remedy ?? /^$/);
  });

  it.each([1, -1])('name the side to update when the versions differ by %d', (by) => {
    const view = { protocolVersion: PROTOCOL_VERSION + by, topology: 'auto', reduceAddress: '/reduce' } as const;
    expect(tokenFinding({ kind: 'accepted', view })).toMatchObject({
      level: 'fault',
      remedy: `Update Troupe on ${by > 0 ? 'this machine' : 'the machine of the coordinator'}.`,
    });
  });
});

describe('the answer of a coordinator', () => {
  const view = { protocolVersion: 9, topology: 'peers', reduceAddress: '/reduce' };
  const ice = { urls: [STUN, TURN], username: 'u', credential: 'c' };

  it.each([
    [200, JSON.stringify(view), 'accepted'],
    [401, '{"code":"wrong_token","message":"m","remedy":"r"}', 'refused'],
    [401, '{"code":"token_expired","message":"m","remedy":"r"}', 'refused'],
    [401, 'sign in', 'refused'],
    [403, '{"code":"wrong_scope","message":"m","remedy":"r"}', 'refused'],
    [404, '{"code":"no_such_path","message":"m","remedy":"r"}', 'unknown'],
    [503, '{"code":"starting","message":"the run is about to start","remedy":"Wait."}', 'unknown'],
    [200, '<html>sign in to the hotel</html>', 'unknown'],
    [502, '', 'unknown'],
    [200, 'null', 'unknown'],
  ])('with HTTP %d and %s is %s', (status, text, kind) => expect(membershipOf(status, text)).toMatchObject({ kind }));

  it('keeps the words of the coordinator, without control characters', () => {
    const answer = JSON.stringify({ code: 'x', message: 'wait\u001b[2J', remedy: 'Later.' });
    expect(membershipOf(503, answer)).toEqual({ kind: 'unknown', message: 'wait\ufffd[2J', remedy: 'Later.' });
    const expired = JSON.stringify({ code: 'token_expired', message: 'it has expired', remedy: 'Ask for another.' });
    expect(membershipOf(401, expired)).toEqual({ kind: 'refused', message: 'it has expired', remedy: 'Ask for another.' });
  });

  it.each([
    ['as it should be', { ...view, iceServers: [ice] }, true],
    ['without servers', view, true],
    ['no object', [], false],
    ['no version', { ...view, protocolVersion: '9' }, false],
    ['an unknown topology', { ...view, topology: 'ring' }, false],
    ['no address', { ...view, reduceAddress: 7 }, false],
    ['too many servers', { ...view, iceServers: Array(50).fill(ice) }, false],
    ['a server that is none', { ...view, iceServers: [{ ...ice, urls: ['http://relay.example'] }] }, false],
    ['credentials that are none', { ...view, iceServers: [{ ...ice, username: null }] }, false],
  ])('is checked: %s', (_, value, isGood) => expect(readNetworkView(value)).toEqual(isGood ? value : undefined));
});

describe('troupe doctor --network', () => {
  const outputOf = async (argv: readonly string[], env = {}) => {
    const session = troupe(['doctor', ...argv], { env });
    return { code: await session.exitCode, stdout: session.stdout.text, stderr: session.stderr.text };
  };

  it.each([
    [['--network', 'ftp://lab'], 'is not the address of a coordinator'],
    [['--network', 'http://lab:7070/#admin=x'], 'the link of the dashboard'],
    [['--network', 'ws://lab', '--engine', 'wasm'], '--network checks no engines'],
    [['--token', 't'], '--token is for --network'],
  ])('ends with 2 for %j', async (argv, message) => {
    const { code, stderr } = await outputOf(argv);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  });

  it('names the variable of a proxy that is none, and ends with 1', async () => {
    const { code, stdout } = await outputOf(['--network', 'ws://lab.invalid:7070'], { HTTP_PROXY: 'ftp://x' });
    expect(stdout).toContain('HTTP_PROXY does not name a proxy');
    expect(stdout).toContain('A worker on this machine could not join');
    expect(code).toBe(1);
  });
});
