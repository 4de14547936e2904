/** The binding to node-datachannel, with a stand-in for the package. */
import { describe, expect, it } from 'vitest';
import { offerRtc, type IceServer } from '../src/webrtc/index.js';
import { findNodeRtc } from '../src/webrtc-node/index.js';
import { createSignallingPair } from './signalling.js';

describe('WebRTC in Node', () => {
  it('is absent, without an error, where the package is', async () => {
    const missing = Object.assign(new Error("Cannot find package 'node-datachannel'"), { code: 'ERR_MODULE_NOT_FOUND' });
    const loaded: string[] = [];
    const load = (name: string): Promise<unknown> => {
      loaded.push(name);
      return Promise.reject(missing);
    };
    expect(await findNodeRtc(load)).toBe(undefined);
    expect(loaded).toEqual(['node-datachannel']);
  });

  it('ends the threads of the library when it is closed', async () => {
    let cleanups = 0;
    const rtc = await findNodeRtc(async () => ({ PeerConnection: class {}, cleanup: () => void cleanups++ }));
    rtc!.close();
    expect(cleanups).toBe(1);
  });

  it('reports a library that fails as an error of the transport', async () => {
    const rtc = await findNodeRtc(async () => ({
      PeerConnection: class {
        constructor() {
          throw new Error('no more sockets');
        }
      },
    }));
    const [signalling] = createSignallingPair();
    await expect(offerRtc({ rtc: rtc!, signalling, remote: 'far' })).rejects.toMatchObject({
      code: 'invalid_address',
      message: expect.stringMatching(/no more sockets/),
    });
  });
});

describe('a peer in Node', () => {
  type Callback = (...args: unknown[]) => void;

  /** A peer whose library records calls, and whose callbacks the test makes. */
  async function openPeer() {
    const calls: unknown[][] = [];
    const callbacks = new Map<string, Callback>();
    const record = (answers: Readonly<Record<string, unknown>>): unknown =>
      new Proxy(class {}, {
        construct: () => record(answers) as object,
        get: (_, name: string) => (argument: unknown, more?: unknown) => {
          if (typeof argument === 'function') callbacks.set(name, argument as Callback);
          else calls.push([name, argument, more]);
          return answers[name];
        },
      });
    const channel = record({ getLabel: 'troupe', isOpen: true, bufferedAmount: 7 });
    const rtc = await findNodeRtc(async () => ({ PeerConnection: record({ createDataChannel: channel }) }));
    const peer = rtc!.createPeer({ iceServers: [], iceTransportPolicy: 'all' });
    return { peer, calls, callbacks };
  }

  it('hands out candidates as browsers do, and takes all but the empty one', async () => {
    const { peer, calls, callbacks } = await openPeer();
    const seen: unknown[] = [];
    peer.onicecandidate = ({ candidate }) => seen.push(candidate);
    callbacks.get('onLocalCandidate')!('a=candidate:1 1 UDP 1 192.0.2.2 5 typ host', '0');
    expect(seen).toEqual([{ candidate: 'candidate:1 1 UDP 1 192.0.2.2 5 typ host', sdpMid: '0', sdpMLineIndex: 0 }]);
    await peer.addIceCandidate({ candidate: '', sdpMid: '0', sdpMLineIndex: 0 });
    await peer.addIceCandidate({ candidate: 'candidate:2', sdpMid: null, sdpMLineIndex: 0 });
    expect(calls.filter(([name]) => name === 'addRemoteCandidate')).toEqual([['addRemoteCandidate', 'candidate:2', '0']]);
  });

  it('hands out messages as buffers of their own, and text as text', async () => {
    const { peer, callbacks } = await openPeer();
    const channel = peer.createDataChannel('troupe');
    const seen: unknown[] = [];
    channel.onmessage = ({ data }) => seen.push(data instanceof ArrayBuffer ? new Uint8Array(data) : data);
    const shared = Buffer.from(new Uint8Array([9, 1, 2, 9]).buffer, 1, 2);
    for (const message of [shared, 'text']) callbacks.get('onMessage')!(message);
    expect(seen).toEqual([Uint8Array.of(1, 2), 'text']);
  });

  it('tells the library of the threshold when it changes', async () => {
    const { peer, calls } = await openPeer();
    const channel = peer.createDataChannel('troupe');
    for (const bytes of [0, 5, 5, 0]) channel.bufferedAmountLowThreshold = bytes;
    expect(channel.bufferedAmountLowThreshold).toBe(0);
    expect(calls.flatMap(([name, bytes]) => (name === 'setBufferedAmountLowThreshold' ? [bytes] : []))).toEqual([5, 0]);
  });
});

describe('ICE servers in Node', () => {
  /** What the library gets for these servers. */
  async function nativeServers(servers: readonly IceServer[]): Promise<unknown> {
    let given: unknown;
    class PeerConnection {
      constructor(_name: string, config: { readonly iceServers: unknown }) {
        given = config.iceServers;
        const nothing = (): void => {};
        return new Proxy(this, { get: () => nothing });
      }
    }
    const rtc = await findNodeRtc(async () => ({ PeerConnection }));
    rtc!.createPeer({ iceServers: servers, iceTransportPolicy: 'all' });
    return given;
  }
  const login = { username: '1700000600:worker-3', credential: 'a/b+c=' };
  const turn = { username: login.username, password: login.credential, relayType: 'TurnUdp' };

  it.each<[string, IceServer, unknown[]]>([
    ['a STUN server', { urls: 'stun:stun.example.org' }, [{ hostname: 'stun.example.org', port: 3478 }]],
    ['a TURN server', { urls: 'turn:192.0.2.7:3500', ...login }, [{ hostname: '192.0.2.7', port: 3500, ...turn }]],
    [
      'an IPv6 address',
      { urls: 'turn:[2001:db8::7]:3500?transport=udp', ...login },
      [{ hostname: '2001:db8::7', port: 3500, ...turn }],
    ],
    [
      'only what it knows of a list',
      { urls: ['turns:t.example.org', 'turn:t.example.org?transport=tcp', 'turn:t.example.org'], ...login },
      [{ hostname: 't.example.org', port: 3478, ...turn }],
    ],
  ])('are taken as %s', async (_, server, expected) => {
    expect(await nativeServers([server])).toEqual(expected);
  });

  it.each<[string, IceServer, RegExp]>([
    ['an address that is not one', { urls: 'https://turn.example.org' }, /not the address/],
    ['credentials in the address', { urls: 'turn:user:secret@turn.example.org' }, /not the address/],
    ['a port over 65535', { urls: 'stun:a:70000' }, /not the address/],
    ['a TURN server without credentials', { urls: 'turn:a' }, /needs a user name/],
  ])('are refused with %s', async (_, server, message) => {
    await expect(nativeServers([server])).rejects.toThrow(message);
  });
});
