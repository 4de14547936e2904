/** WebRTC without a network, on a clock that tests move: what the peer and its channel do is decided by the test. */
import type { Rtc, RtcChannel, RtcConfig, RtcPeer } from '../src/webrtc/index.js';

/** A description as browsers make it, as far as it is checked. */
export const SDP = [
  'v=0',
  'o=- 1 2 IN IP4 127.0.0.1',
  's=-',
  't=0 0',
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel',
  'c=IN IP4 0.0.0.0',
  'a=ice-ufrag:abcd',
  'a=ice-pwd:0123456789abcdef01234567',
  'a=fingerprint:sha-256 00:11',
  'a=setup:actpass',
  'a=mid:0',
  '',
].join('\r\n');

export interface Clock {
  after(ms: number, task: () => void): () => void;
  /** Runs what is due within the next `ms`, and what that causes. */
  advance(ms: number): Promise<void>;
  /** Tasks that wait. */
  readonly waiting: number;
}

/** Lets promises and what they cause settle. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export function createClock(): Clock {
  let nowMs = 0;
  const tasks = new Set<{ readonly atMs: number; readonly task: () => void }>();
  return {
    get waiting() {
      return tasks.size;
    },
    after(ms, task) {
      const entry = { atMs: nowMs + ms, task };
      tasks.add(entry);
      return () => tasks.delete(entry);
    },
    async advance(ms) {
      const end = nowMs + ms;
      for (;;) {
        await settle();
        const [next] = [...tasks].filter(({ atMs }) => atMs <= end).sort((a, b) => a.atMs - b.atMs);
        if (!next) break;
        nowMs = next.atMs;
        tasks.delete(next);
        next.task();
      }
      nowMs = end;
    },
  };
}

export class FakeChannel implements RtcChannel {
  readonly label: string;
  readyState = 'connecting';
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  binaryType = 'blob';
  /** The most that was ever in the buffer. */
  mostBuffered = 0;
  readonly messages: Uint8Array[] = [];
  /** Messages stay in the buffer until `flush`. */
  held = false;
  other: FakeChannel | undefined;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onerror: (() => void) | null = null;
  onbufferedamountlow: (() => void) | null = null;
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  private buffer: Uint8Array[] = [];

  constructor(label: string) {
    this.label = label;
  }

  send(message: Uint8Array<ArrayBuffer>): void {
    if (this.readyState !== 'open') throw new Error('the channel is not open');
    this.messages.push(message);
    this.buffer.push(message);
    this.bufferedAmount += message.byteLength;
    this.mostBuffered = Math.max(this.mostBuffered, this.bufferedAmount);
    if (!this.held) queueMicrotask(() => this.flush(1));
  }

  /** Delivers what is in the buffer, or the first `count` messages of it. */
  flush(count = this.buffer.length): void {
    for (const message of this.buffer.splice(0, count)) {
      const before = this.bufferedAmount;
      this.bufferedAmount -= message.byteLength;
      this.other?.onmessage?.({ data: message.slice().buffer });
      if (before > this.bufferedAmountLowThreshold && this.bufferedAmount <= this.bufferedAmountLowThreshold)
        this.onbufferedamountlow?.();
    }
  }

  open(): void {
    this.readyState = 'open';
    this.onopen?.();
  }

  close(): void {
    if (this.readyState === 'closed') return;
    this.readyState = 'closed';
    queueMicrotask(() => this.onclose?.());
  }
}

export class FakePeer implements RtcPeer {
  readonly config: RtcConfig;
  connectionState = 'new';
  iceConnectionState = 'new';
  iceGatheringState = 'new';
  localDescription: { type: string; sdp: string } | null = null;
  readonly remote: string[] = [];
  readonly candidates: string[] = [];
  restarts = 0;
  closed = false;
  channel: FakeChannel | undefined;
  other: FakePeer | undefined;
  restartIce?: () => void;
  ondatachannel: RtcPeer['ondatachannel'] = null;
  onicecandidate: RtcPeer['onicecandidate'] = null;
  onicecandidateerror: RtcPeer['onicecandidateerror'] = null;
  onicegatheringstatechange: RtcPeer['onicegatheringstatechange'] = null;
  oniceconnectionstatechange: RtcPeer['oniceconnectionstatechange'] = null;
  onconnectionstatechange: RtcPeer['onconnectionstatechange'] = null;

  constructor(config: RtcConfig, restartsIce: boolean) {
    this.config = config;
    if (restartsIce) this.restartIce = () => void this.restarts++;
  }

  createDataChannel(label: string): RtcChannel {
    return (this.channel = new FakeChannel(label));
  }

  async setLocalDescription(): Promise<void> {
    const type = this.remote.at(-1) === 'offer' ? 'answer' : 'offer';
    this.localDescription = { type, sdp: SDP };
  }

  async setRemoteDescription({ type, sdp }: { readonly type: string; readonly sdp: string }): Promise<void> {
    if (sdp.includes('a=unusable')) throw new Error('no such thing');
    this.remote.push(type);
  }

  async addIceCandidate({ candidate }: { readonly candidate: string }): Promise<void> {
    if (this.remote.length === 0) throw new Error('no remote description');
    if (candidate.includes('unusable')) throw new Error('no such network');
    this.candidates.push(candidate);
  }

  change(state: string): void {
    this.connectionState = this.iceConnectionState = state;
    this.oniceconnectionstatechange?.();
    this.onconnectionstatechange?.();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.connectionState = 'closed';
    this.channel?.close();
    this.other?.channel?.close();
  }
}

export interface FakeRtc extends Rtc {
  readonly peers: FakePeer[];
}

export function createFakeRtc(clock: Clock, { restartsIce = true } = {}): FakeRtc {
  const peers: FakePeer[] = [];
  return {
    peers,
    after: (ms, task) => clock.after(ms, task),
    createPeer(config) {
      const peer = new FakePeer(config, restartsIce);
      peers.push(peer);
      return peer;
    },
  };
}

/** Connects two peers, with a channel of this name at the answering side. */
export function connectPeers(offerer: FakePeer, answerer: FakePeer, label = 'troupe'): void {
  [offerer.other, answerer.other] = [answerer, offerer];
  for (const peer of [offerer, answerer]) peer.change('connected');
  const channel = new FakeChannel(label);
  answerer.channel = channel;
  [channel.other, offerer.channel!.other] = [offerer.channel, channel];
  answerer.ondatachannel?.({ channel });
  channel.open();
  offerer.channel!.open();
}
