/** A Connection over an RTCDataChannel. */
import { LIMITS } from '@troupe/config/limits';
import { DEFAULT_FRAME_BYTES, type CloseInfo, type Connection } from '../connection.js';
import { createLinkState, type LinkState } from '../link.js';
import { createReassembly, KIND, MESSAGE_BYTES, readHello, violation, writeHello, type Hello } from './messages.js';
import { createOutbox, type Outbox } from './outbox.js';
import type { Rtc, RtcChannel } from './rtc.js';

export interface RtcLinkOptions {
  /** The other end, for logs: "worker-3". */
  readonly remote: string;
  /** The largest frame in both directions; a larger one closes the link. Default DEFAULT_FRAME_BYTES. */
  readonly frameBytes?: number;
  /** The link is closed above this many bytes received and not taken: nothing makes a data channel stop reading. Default 512 MiB. */
  readonly unreadBytes?: number;
  /**
   * A link that receives nothing for this long, and up to a quarter longer, is `lost`. Each side sends a sign of life four times in this
   * period, so both sides must use the same. Default 20 s.
   */
  readonly silenceMs?: number;
  /** After close(), a peer that takes nothing for this long is disconnected. Default 5 s. */
  readonly closeTimeoutMs?: number;
}

export interface RtcLinkPorts {
  readonly after: Rtc['after'];
  /** What this side says of itself. */
  readonly hello: Hello;
  /** Called once with what the other side says of itself; the link is ready then. */
  greeted(hello: Hello): void;
  /** Called once, when nothing more is to be sent. */
  closePeer(): void;
}

export interface RtcLink {
  readonly connection: Connection;
  /** A sign of life that did not come through the channel. */
  heard(): void;
  lose(reason: string): void;
}

/** Signs of life within the silence allowed. */
const TICKS = 4;
const NOTHING = new Uint8Array(0);

/** Takes over a data channel. Must run in the turn in which the channel appears: messages may arrive in the next. */
export function createLink(channel: RtcChannel, options: RtcLinkOptions, ports: RtcLinkPorts): RtcLink {
  const outbox = createOutbox(channel);
  const state = createLinkState(options.frameBytes ?? DEFAULT_FRAME_BYTES, () => outbox.bytes);
  const end = createEnding(channel, outbox, state, options, ports);
  const sender = createSender(channel, outbox, state, end.lose);
  const heartbeat = createHeartbeat(options, ports, end.lose, () => {
    if (!state.end && outbox.bytes === 0) sender.control(KIND.alive, NOTHING);
  });
  void state.closed.then(heartbeat.stop);
  const receive = createReceiver(state, options, {
    greeted: ports.greeted,
    close(reason) {
      // What this side has not sent would arrive at a link that takes nothing any more.
      outbox.clear();
      end.begin({ kind: 'clean', reason });
      sender.control(KIND.closed, NOTHING);
    },
    closed: end.finish,
  });
  listenTo(channel, { receive, heartbeat, sender, end, hello: ports.hello });
  return {
    connection: createConnection(`webrtc:${options.remote}`, outbox, state, sender, end),
    heard: heartbeat.heard,
    lose: end.lose,
  };
}

function createConnection(remote: string, outbox: Outbox, state: LinkState, sender: Sender, end: Ending): Connection {
  return {
    remote,
    closed: state.closed,
    get bufferedBytes() {
      return outbox.bytes;
    },
    send(frame) {
      state.checkSend(frame);
      sender.frame(frame);
    },
    drained: (maxBufferedBytes, signal) => state.drained(maxBufferedBytes, signal),
    receive: (signal) => state.receive(signal),
    close(reason) {
      if (state.end) return;
      end.begin({ kind: 'clean', reason });
      sender.control(KIND.close, new TextEncoder().encode(reason.slice(0, LIMITS.reasonLength)));
    },
  };
}

interface Sender {
  frame(frame: Uint8Array): void;
  control(kind: number, content: Uint8Array): void;
  /** Sends what waits, as far as the channel has room. */
  pump(): void;
}

function createSender(channel: RtcChannel, outbox: Outbox, state: LinkState, lose: (reason: string) => void): Sender {
  const pump = (): void => {
    if (channel.readyState !== 'open') return;
    try {
      outbox.pump();
    } catch (error) {
      return lose(`the data channel takes no more: ${(error as Error).message}`);
    }
    state.progress();
  };
  return {
    pump,
    frame(frame) {
      outbox.sendFrame(frame);
      pump();
    },
    control(kind, content) {
      outbox.sendControl(kind, content);
      pump();
    },
  };
}

interface Ending {
  /** Ends sending and delivery, and gives the other side time to take what was sent. */
  begin(info: CloseInfo): void;
  /** The other side has taken everything, or is gone. */
  finish(): void;
  lose(reason: string): void;
}

function createEnding(
  channel: RtcChannel,
  outbox: Outbox,
  state: LinkState,
  { closeTimeoutMs = LIMITS.closeMs }: RtcLinkOptions,
  { after, closePeer }: RtcLinkPorts,
): Ending {
  let cancel = (): void => {};
  let finished = false;
  const finish = (): void => {
    if (finished) return;
    finished = true;
    cancel();
    channel.onopen = channel.onmessage = channel.onclose = channel.onbufferedamountlow = null;
    closePeer();
    state.settle({ kind: 'lost', reason: 'the connection broke off' });
  };
  /** Gives up when the queue stands still, so a stopped peer cannot hold the link open. */
  const watch = (left: number): void => {
    cancel = after(closeTimeoutMs, () => {
      if (outbox.bytes > 0 && outbox.bytes < left) watch(outbox.bytes);
      else finish();
    });
  };
  return {
    begin(info) {
      if (state.end) return;
      state.shut(info);
      watch(outbox.bytes);
    },
    finish,
    lose(reason) {
      state.shut({ kind: 'lost', reason });
      finish();
    },
  };
}

interface Heartbeat {
  start(): void;
  heard(): void;
  stop(): void;
}

/** Counts ticks instead of time: while this side sleeps or computes, it cannot tell that the other side is silent. */
function createHeartbeat(
  { silenceMs = LIMITS.silenceMs }: RtcLinkOptions,
  { after }: RtcLinkPorts,
  lose: (reason: string) => void,
  beat: () => void,
): Heartbeat {
  let silentTicks = 0;
  let cancel: (() => void) | undefined;
  const tick = (): void => {
    if (++silentTicks > TICKS) return lose(`no sign of life for ${silenceMs / 1000} s`);
    beat();
    cancel = after(silenceMs / TICKS, tick);
  };
  return {
    start() {
      cancel ??= after(silenceMs / TICKS, tick);
    },
    heard() {
      silentTicks = 0;
    },
    stop: () => cancel?.(),
  };
}

interface Received {
  greeted(hello: Hello): void;
  close(reason: string): void;
  closed(): void;
}

/** @returns what takes each message; it throws TransportError `refused` for one that breaks the rules */
function createReceiver(
  state: LinkState,
  { frameBytes = DEFAULT_FRAME_BYTES, unreadBytes = LIMITS.browserReceivedBytes }: RtcLinkOptions,
  received: Received,
): (data: unknown) => void {
  const reassemble = createReassembly(frameBytes);
  let greeted = false;
  const takePiece = (kind: number, content: Uint8Array): void => {
    const frame = reassemble(kind, content);
    if (frame) state.deliver(frame);
    if (!state.end && state.unreadBytes > unreadBytes) throw violation('more came in than was read');
  };
  const greet = (content: Uint8Array): void => {
    if (greeted) throw violation('the other side introduced itself twice');
    greeted = true;
    received.greeted(readHello(content));
  };
  return (data) => {
    const [kind, content] = readMessage(data);
    if (!greeted && kind !== KIND.hello) throw violation('the other side did not introduce itself');
    if (kind === KIND.part || kind === KIND.last) takePiece(kind, content);
    else if (kind === KIND.hello) greet(content);
    else if (kind === KIND.close) received.close(readReason(content));
    else if (kind === KIND.closed) received.closed();
    else if (kind !== KIND.alive) throw violation(`the other side sent a message of an unknown kind (${kind})`);
  };
}

function readMessage(data: unknown): [kind: number, content: Uint8Array] {
  if (!(data instanceof ArrayBuffer)) throw violation('the other side sent text instead of binary frames');
  if (data.byteLength === 0) throw violation('the other side sent an empty message');
  if (data.byteLength > MESSAGE_BYTES) throw violation(`the other side sent a message of more than ${MESSAGE_BYTES} bytes`);
  const bytes = new Uint8Array(data);
  return [bytes[0], bytes.subarray(1)];
}

function readReason(content: Uint8Array): string {
  return new TextDecoder().decode(content).slice(0, LIMITS.reasonLength) || 'the other side closed';
}

interface Parts {
  receive(data: unknown): void;
  readonly heartbeat: Heartbeat;
  readonly sender: Sender;
  readonly end: Ending;
  readonly hello: Hello;
}

function listenTo(channel: RtcChannel, { receive, heartbeat, sender, end, hello }: Parts): void {
  channel.binaryType = 'arraybuffer';
  let open = false;
  const onOpen = (): void => {
    if (open) return;
    open = true;
    sender.control(KIND.hello, writeHello(hello));
    heartbeat.start();
  };
  channel.onopen = onOpen;
  channel.onmessage = ({ data }) => {
    heartbeat.heard();
    try {
      receive(data);
    } catch (error) {
      end.lose((error as Error).message);
    }
  };
  channel.onbufferedamountlow = sender.pump;
  channel.onclose = end.finish;
  // Platforms do not say what the error is; a close always follows.
  channel.onerror = () => {};
  if (channel.readyState === 'open') onOpen();
}
