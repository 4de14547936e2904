/** The WebRTC transport with node-datachannel: both ends in this process, over real UDP. */
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_FRAME_BYTES, type Connection } from '../src/index.js';
import { answerRtc, offerRtc, type RtcOptions, type Signal } from '../src/webrtc/index.js';
import { findNodeRtc } from '../src/webrtc-node/index.js';
import { describeTransport } from './conformance.js';
import { createSignallingPair } from './signalling.js';
import { createUdpCable } from './udp-cable.js';

const rtc = await findNodeRtc();
afterAll(() => rtc?.close());

/** Both ends of a link whose UDP packets pass through a cable. */
async function openLink(options: Partial<RtcOptions> = {}) {
  const cable = await createUdpCable();
  const [nearSignalling, farSignalling] = createSignallingPair(cable.route);
  const [near, far] = await Promise.all([
    offerRtc({ rtc: rtc!, signalling: nearSignalling, remote: 'far', ...options }),
    answerRtc({ rtc: rtc!, signalling: farSignalling, remote: 'near', ...options }),
  ]);
  const dispose = async (): Promise<void> => {
    near.close('test over');
    far.close('test over');
    await Promise.all([near.closed, far.closed]);
    cable.close();
  };
  return { near, far, nearSignalling, farSignalling, frameBytes: DEFAULT_FRAME_BYTES, breakLink: cable.cut, dispose };
}

const disposals: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const dispose of disposals.splice(0)) await dispose();
});
async function openFor(options: Partial<RtcOptions> = {}) {
  const link = await openLink(options);
  disposals.push(link.dispose);
  return link;
}

if (rtc) describeTransport('WebRTC (node-datachannel)', () => openLink({ silenceMs: 2_000, closeTimeoutMs: 500 }));

describe.skipIf(!rtc)('a WebRTC link in Node' + (rtc ? '' : ' (SKIPPED: the package node-datachannel is not installed)'), () => {
  it('names the other side', async () => {
    const { near, far } = await openFor();
    expect([near.remote, far.remote]).toEqual(['webrtc:far', 'webrtc:near']);
  });

  it('carries 8 MB each way at once, in frames of the largest size', async () => {
    const { near, far } = await openFor();
    const data = randomBytes(8 * 1024 * 1024);
    const digest = createHash('sha256').update(data).digest('hex');
    const carry = async (from: Connection, to: Connection): Promise<string> => {
      const hash = createHash('sha256');
      for (let at = 0; at < data.length; at += DEFAULT_FRAME_BYTES)
        from.send(new Uint8Array(data.subarray(at, at + DEFAULT_FRAME_BYTES)));
      for (let at = 0; at < data.length; at += DEFAULT_FRAME_BYTES) hash.update(await to.receive());
      return hash.digest('hex');
    };
    expect(await Promise.all([carry(near, far), carry(far, near)])).toEqual([digest, digest]);
  });

  it('does not wait for ever for a silent peer when it closes', async () => {
    const { near, breakLink } = await openFor({ closeTimeoutMs: 50 });
    breakLink();
    near.close('leaving');
    expect(await near.closed).toEqual({ kind: 'clean', reason: 'leaving' });
  });

  it('survives the end of its signalling', async () => {
    const { near, far, nearSignalling, farSignalling } = await openFor();
    nearSignalling.cut();
    farSignalling.cut();
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
  });

  it('connects when names of other networks and candidates that cannot work are among the candidates', async () => {
    const cable = await createUdpCable();
    const extra = ['7c3f04a2-1d5e-4a52-9d1c-0e51b1f2a3c4.local', '2001:db8::1', '192.0.2.1'];
    const [nearSignalling, farSignalling] = createSignallingPair((signal, from) => cable.route(signal, from));
    for (const [i, address] of extra.entries()) {
      const signal: Signal = {
        type: 'candidate',
        generation: 1,
        candidate: `candidate:${i + 50} 1 udp 2113937151 ${address} 50000 typ host`,
        sdpMid: '0',
        sdpMLineIndex: 0,
      };
      nearSignalling.inject(signal);
      farSignalling.inject(signal);
    }
    const [near, far] = await Promise.all([
      offerRtc({ rtc: rtc!, signalling: nearSignalling, remote: 'far' }),
      answerRtc({ rtc: rtc!, signalling: farSignalling, remote: 'near' }),
    ]);
    disposals.push(async () => {
      near.close('test over');
      await Promise.all([near.closed, far.closed]);
      cable.close();
    });
    near.send(Uint8Array.of(1));
    expect(await far.receive()).toEqual(Uint8Array.of(1));
  });

  it('says that UDP is blocked when no packet comes through', async () => {
    const cable = await createUdpCable();
    cable.cut();
    const [nearSignalling, farSignalling] = createSignallingPair(cable.route);
    const options = { rtc: rtc!, connectTimeoutMs: 1_000 };
    const blocked = { code: 'unreachable', message: expect.stringMatching(/blocks UDP/), remedy: expect.stringMatching(/TURN/) };
    await Promise.all([
      expect(offerRtc({ ...options, signalling: nearSignalling, remote: 'far' })).rejects.toMatchObject(blocked),
      expect(answerRtc({ ...options, signalling: farSignalling, remote: 'near' })).rejects.toMatchObject(blocked),
    ]);
    cable.close();
  });

  it('rejects ICE servers that it cannot read', async () => {
    const [signalling] = createSignallingPair();
    const opening = offerRtc({ rtc: rtc!, signalling, remote: 'far', iceServers: [{ urls: 'turn:not an address' }] });
    await expect(opening).rejects.toMatchObject({ code: 'invalid_address', remedy: expect.stringMatching(/TURN/) });
  });
});
