import { describe, expect, it } from 'vitest';
import {
  LIMITS,
  createChannel,
  encodeFrames,
  openTransfer,
  receiveWithin,
  type BodyReader,
  type ChannelOptions,
  type FrameLink,
  type Message,
  type MessageType,
} from '../src/index.js';
import { EXAMPLES } from './examples.js';

/** A link that records what is sent and delivers what the test queues. */
function listLink(incoming: Uint8Array[] = []) {
  const sent: Uint8Array[] = [];
  const link: FrameLink = {
    remote: 'test',
    bufferedBytes: 0,
    closed: new Promise(() => {}),
    send: (frame) => void sent.push(frame),
    drained: async () => {},
    close: () => {},
    receive: (signal) =>
      new Promise((resolve, reject) => {
        const frame = incoming.shift();
        if (frame) resolve(frame);
        else if (!signal) reject(new Error('end of list'));
        else if (signal.aborted) reject(new Error('aborted'));
        else signal.addEventListener('abort', () => reject(new Error('aborted')));
      }),
  };
  return { link, sent };
}

type Options = Partial<ChannelOptions<MessageType>>;
const { update, bye, snapshot } = EXAMPLES;

const receiver = (frames: Uint8Array[], bodyBytes: number | ((message: Message) => number), options: Options = {}) =>
  createChannel(listLink(frames).link, {
    accepts: ['update', 'bye', 'snapshot'],
    bodyBytes: typeof bodyBytes === 'number' ? (message) => (message.type === 'bye' ? 0 : bodyBytes) : bodyBytes,
    ...options,
  });
const refused = (code: string, message = /./) =>
  expect.objectContaining({
    name: 'ProtocolError',
    code,
    message: expect.stringMatching(message),
    remedy: expect.stringMatching(/\w/),
  });

const pattern = (length: number) => new Uint8Array(length).map((_, i) => (i * 7 + (i >> 8)) & 255);
const setBytes = (frame: Uint8Array, at: number, ...values: number[]) => {
  const copy = frame.slice();
  copy.set(values, at);
  return copy;
};

describe('frames', () => {
  it('are laid out byte by byte as PROTOCOL.md says', () => {
    const [message, chunk, ...more] = encodeFrames(snapshot, Uint8Array.of(7, 8, 9));
    expect(more).toEqual([]);
    const transfer = new DataView(message.buffer).getUint32(4, true);
    expect([...message.slice(0, 4)]).toEqual([1, 1, 0, 0]);
    expect([...message.slice(8, 16)]).toEqual([3, 0, 0, 0, 0, 0, 0, 0]);
    expect(message[16]).toBe(0x80 + 3);
    expect([...chunk.slice(0, 4)]).toEqual([2, 1, 0, 0]);
    expect(new DataView(chunk.buffer).getUint32(4, true)).toBe(transfer);
    expect([...chunk.slice(8)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 7, 8, 9]);
  });

  it('stay within the limit, with every chunk aligned to 8 bytes', () => {
    const frames = encodeFrames(snapshot, new Uint8Array(1_000_000));
    expect(frames.length).toBe(1 + Math.ceil(1_000_000 / LIMITS.chunkBytes));
    for (const frame of frames) expect(frame.byteLength).toBeLessThanOrEqual(LIMITS.frameBytes);
    expect(LIMITS.chunkBytes % 8).toBe(0);
  });

  it('join a body given in parts, across chunk boundaries', async () => {
    const body = pattern(600_000);
    const parts = [body.subarray(0, 3), body.subarray(3, 300_001), new Uint8Array(0), body.subarray(300_001)];
    const received = await receiver(encodeFrames(snapshot, parts), body.byteLength).receive();
    expect(Buffer.compare(received.body, body)).toBe(0);
  });

  it('are refused by the sender if the body exceeds the limit', () => {
    const limits = { ...LIMITS, bodyBytes: 10 };
    expect(() => encodeFrames(snapshot, new Uint8Array(11), limits)).toThrow(refused('limit_exceeded', /11 bytes/));
  });
});

describe('a channel', () => {
  it('delivers messages with their bodies, each in its own ArrayBuffer', async () => {
    const { link, sent } = listLink();
    const sender = createChannel(link, { accepts: [], bodyBytes: () => 0 });
    const body = pattern(700_000);
    sender.send(bye);
    sender.send(snapshot, body);
    sender.send(bye);
    const channel = receiver(sent, body.byteLength);
    expect(await channel.receive()).toEqual({ message: bye, body: new Uint8Array(0) });
    const received = await channel.receive();
    expect(received.message).toEqual(snapshot);
    expect(received.body.byteOffset).toBe(0);
    expect(received.body.buffer.byteLength).toBe(body.byteLength);
    expect(Buffer.compare(received.body, body)).toBe(0);
    expect((await channel.receive()).message).toEqual(bye);
  });

  it('can send shared frames between its own transfers', async () => {
    const { link, sent } = listLink();
    const sender = createChannel(link, { accepts: [], bodyBytes: () => 0 });
    const shared = encodeFrames(update, pattern(600_000));
    sender.send(snapshot, pattern(600_000));
    sender.sendEncoded(shared);
    // Interleaved, as a sender with several lanes might send them.
    const [a, b] = [sent.slice(0, shared.length), sent.slice(shared.length)];
    const interleaved = a.flatMap((frame, i) => [frame, b[i]]);
    const channel = receiver([...interleaved, ...shared], 600_000);
    for (const message of [snapshot, update, update]) {
      const received = await channel.receive();
      expect(received.message).toEqual(message);
      expect(Buffer.compare(received.body, pattern(600_000))).toBe(0);
    }
  });

  it('delivers a small message while a large one is still arriving', async () => {
    const [head, ...chunks] = encodeFrames(snapshot, pattern(300_000));
    const channel = receiver([head, chunks[0], ...encodeFrames(bye), ...chunks.slice(1)], 300_000);
    expect((await channel.receive()).message).toEqual(bye);
    expect((await channel.receive()).message).toEqual(snapshot);
  });

  it('keeps a partial transfer when receive is aborted', async () => {
    const frames = encodeFrames(snapshot, pattern(300_000));
    const incoming = frames.slice(0, 2);
    const { link } = listLink(incoming);
    const channel = createChannel(link, { accepts: ['snapshot'], bodyBytes: () => 300_000 });
    const controller = new AbortController();
    const waiting = channel.receive(controller.signal);
    await new Promise((resolve) => setTimeout(resolve));
    controller.abort();
    await expect(waiting).rejects.toThrow('aborted');
    incoming.push(...frames.slice(2));
    expect(Buffer.compare((await channel.receive()).body, pattern(300_000))).toBe(0);
  });

  it('refuses to queue more for a peer that does not read', () => {
    const { link, sent } = listLink();
    const stuck: FrameLink = { ...link, bufferedBytes: LIMITS.bufferedBytes + 1 };
    const channel = createChannel(stuck, { accepts: [], bodyBytes: () => 0 });
    expect(() => channel.send(bye)).toThrow(refused('limit_exceeded', /does not read/));
    expect(sent).toEqual([]);
  });

  it('ends when a transfer stalls, but waits for a new message without limit', async () => {
    const [head, first] = encodeFrames(snapshot, pattern(100_000));
    const deadlines: AbortController[] = [];
    const deadline = (ms: number) => {
      expect(ms).toBe(LIMITS.transferIdleMs);
      deadlines.push(new AbortController());
      return deadlines.at(-1)!.signal;
    };
    const incoming = [...encodeFrames(bye), head, first];
    let breakOff: (error: Error) => void = () => {};
    const link: FrameLink = {
      ...listLink().link,
      receive: () => new Promise((resolve, reject) => (incoming.length > 0 ? resolve(incoming.shift()!) : (breakOff = reject))),
      close: (reason) => breakOff(new Error(`closed: ${reason}`)),
    };
    const channel = createChannel(link, {
      accepts: ['bye', 'snapshot'],
      bodyBytes: (m) => (m.type === 'bye' ? 0 : 100_000),
      deadline,
    });
    await channel.receive();
    expect(deadlines).toEqual([]);
    const waiting = expect(channel.receive()).rejects.toEqual(refused('limit_exceeded', /made no progress/));
    await new Promise((resolve) => setTimeout(resolve));
    expect(deadlines).toHaveLength(1);
    deadlines[0].abort(); // A chunk arrived in the meantime.
    expect(deadlines).toHaveLength(2);
    deadlines[1].abort();
    await waiting;
  });

  it('reuses the memory of bodies only with reuseBodies', async () => {
    const frames = () => [...encodeFrames(snapshot, pattern(100)), ...encodeFrames(snapshot, pattern(100).fill(9))];
    for (const reuseBodies of [true, false]) {
      const channel = receiver(frames(), 100, { reuseBodies });
      const { body: one } = await channel.receive();
      const { body: other } = await channel.receive();
      expect(other).toEqual(pattern(100).fill(9));
      expect(one.buffer === other.buffer).toBe(reuseBodies);
    }
  });
});

describe('a streamed body', () => {
  async function rest(body: BodyReader): Promise<Uint8Array> {
    const pieces: number[] = [];
    for (let piece = await body.next(); piece; piece = await body.next()) pieces.push(...piece);
    return Uint8Array.from(pieces);
  }

  it('is read piece by piece as it arrives, and its message is there before it', async () => {
    const frames = encodeFrames(snapshot, pattern(100_000));
    const incoming = [frames[0]];
    const channel = createChannel(listLink(incoming).link, { accepts: ['snapshot'], bodyBytes: () => 100_000 });
    const { message, body } = await channel.receiveStreamed();
    expect([message, body.bytes]).toEqual([snapshot, 100_000]);
    incoming.push(...frames.slice(1));
    expect(await body.next()).toEqual(frames[1].subarray(16));
    expect(await rest(body)).toEqual(pattern(100_000).subarray(LIMITS.chunkBytes));
    expect(await body.next()).toBeUndefined();
  });

  it('leaves the messages between its chunks to the next receive, in order', async () => {
    const [head, ...chunks] = encodeFrames(snapshot, pattern(100_000));
    const frames = [head, ...encodeFrames(bye), ...chunks, ...encodeFrames(update, pattern(100_000).fill(3))];
    const channel = receiver(frames, 100_000);
    expect(await rest((await channel.receiveStreamed()).body)).toEqual(pattern(100_000));
    const { message, body } = await channel.receiveStreamed();
    expect([message, await rest(body)]).toEqual([bye, new Uint8Array(0)]);
    const last = await channel.receiveStreamed();
    expect([last.message, await rest(last.body)]).toEqual([update, pattern(100_000).fill(3)]);
  });

  it('is skipped where it was not read to its end', async () => {
    const channel = receiver([...encodeFrames(snapshot, pattern(100_000)), ...encodeFrames(bye)], 100_000);
    await (await channel.receiveStreamed()).body.next();
    expect((await channel.receiveStreamed()).message).toEqual(bye);
  });

  it('is made in pieces by a sender that has not all of it yet', async () => {
    const transfer = openTransfer(snapshot, 5);
    const [first, last] = [transfer.chunk(2), transfer.chunk(3)];
    first.payload.set([1, 2]);
    last.payload.set([3, 4, 5]);
    const { message, body } = await receiver([transfer.head, first.frame, last.frame], 5).receiveStreamed();
    expect([message, await rest(body)]).toEqual([snapshot, Uint8Array.of(1, 2, 3, 4, 5)]);
  });

  it('ends with an error when too many messages begin before its end', async () => {
    const [head] = encodeFrames(snapshot, pattern(100_000));
    const flood = Array.from({ length: LIMITS.messagesAhead + 1 }, () => encodeFrames(bye)).flat();
    const { body } = await receiver([head, ...flood], 100_000).receiveStreamed();
    await expect(body.next()).rejects.toEqual(refused('limit_exceeded', /between the chunks/));
  });

  it('ends with an error when another body begins before its end, of which any number could wait', async () => {
    const [head] = encodeFrames(snapshot, pattern(100_000));
    const { body } = await receiver([head, ...encodeFrames(update, pattern(100_000))], 100_000).receiveStreamed();
    await expect(body.next()).rejects.toEqual(refused('limit_exceeded', /second body/));
  });

  it('ends with an error at a chunk out of place', async () => {
    const [head, , second] = encodeFrames(snapshot, pattern(100_000));
    const { body } = await receiver([head, second], 100_000).receiveStreamed();
    await expect(body.next()).rejects.toEqual(refused('malformed_frame', /a chunk at/));
  });
});

describe('a hostile peer', () => {
  const [head, first, second] = encodeFrames(snapshot, pattern(200_000)) as [Uint8Array, Uint8Array, Uint8Array];
  it.each<[string, string, Uint8Array[]]>([
    ['an empty frame', 'malformed_frame', [new Uint8Array(0)]],
    ['a truncated header', 'malformed_frame', [head.slice(0, 15)]],
    ['a header without a message', 'malformed_frame', [head.slice(0, 16)]],
    ['an unknown frame kind', 'malformed_frame', [setBytes(head, 0, 3)]],
    ['another frame version', 'version_mismatch', [setBytes(head, 1, 2)]],
    ['reserved bytes in use', 'malformed_frame', [setBytes(head, 2, 1)]],
    ['a frame over the limit', 'limit_exceeded', [new Uint8Array(LIMITS.frameBytes + 1)]],
    ['a message over the limit', 'limit_exceeded', [setBytes(new Uint8Array(LIMITS.frameBytes), 0, 1, 1)]],
    ['a body of 2^64 - 1 bytes', 'limit_exceeded', [setBytes(head, 8, 255, 255, 255, 255, 255, 255, 255, 255)]],
    ['a body of the wrong length', 'invalid_message', [setBytes(head, 8, 0, 0, 0, 32)]],
    ['an unexpected body', 'invalid_message', encodeFrames(bye, pattern(3))],
    ['a missing body', 'invalid_message', encodeFrames(snapshot)],
    ['a message of the other conversation', 'unexpected_message', encodeFrames(EXAMPLES.hello)],
    ['a chunk without a transfer', 'malformed_frame', [first]],
    ['a chunk after the last', 'malformed_frame', [head, first, second, second]],
    ['a repeated chunk', 'malformed_frame', [head, first, first]],
    ['a missing chunk', 'malformed_frame', [head, second]],
    ['an empty chunk', 'malformed_frame', [head, first.slice(0, 16)]],
    [
      'a chunk beyond the end',
      'malformed_frame',
      [head, first, setBytes(new Uint8Array(LIMITS.frameBytes), 0, ...second.slice(0, 16))],
    ],
    ['a transfer started twice', 'malformed_frame', [head, head]],
    [
      'too many transfers at once',
      'limit_exceeded',
      Array.from({ length: LIMITS.transfersInFlight + 1 }, (_, i) => setBytes(head, 4, i)),
    ],
  ])('is refused for %s, and the channel stays dead', async (_, code, frames) => {
    const channel = receiver([...frames, ...encodeFrames(bye)], 200_000);
    const outcome = async () => {
      for (;;) await channel.receive();
    };
    await expect(outcome()).rejects.toEqual(refused(code));
    await expect(channel.receive()).rejects.toEqual(refused(code));
  });

  it('gets no memory for a body before its length is checked against the message', async () => {
    const asked: Message[] = [];
    const channel = receiver([setBytes(head, 8, 0, 0, 0, 63)], (message) => {
      asked.push(message);
      return 4;
    });
    await expect(channel.receive()).rejects.toEqual(
      refused('invalid_message', /announces a body of 1056964608 bytes, expected 4/),
    );
    expect(asked).toEqual([snapshot]);
  });
});

describe('receiveWithin', () => {
  const channel = () => receiver([], 4);
  const wait = () => ({ over: new AbortController(), left: new AbortController() });

  it('delivers a message that arrives in time', async () => {
    const { over } = wait();
    const waiting = receiveWithin(receiver(encodeFrames(bye), 4), { deadline: over.signal, what: 'a bye' });
    expect((await waiting).message).toEqual(bye);
  });

  it('fails when the deadline expires, before or during the wait', async () => {
    for (const struck of [true, false]) {
      const { over } = wait();
      if (struck) over.abort();
      const waiting = receiveWithin(channel(), { deadline: over.signal, what: 'a welcome' });
      over.abort();
      await expect(waiting).rejects.toEqual(refused('limit_exceeded', /a welcome did not arrive in time from test/));
    }
  });

  it('reports the abort, not the deadline, when the message is no longer wanted', async () => {
    const { over, left } = wait();
    const waiting = receiveWithin(channel(), { deadline: over.signal, signal: left.signal, what: 'a welcome' });
    left.abort();
    await expect(waiting).rejects.toThrow('aborted');
  });

  it('leaves the channel usable', async () => {
    const { over } = wait();
    const frames: Uint8Array[] = [];
    const one = receiver(frames, 4);
    over.abort();
    await expect(receiveWithin(one, { deadline: over.signal, what: 'a bye' })).rejects.toEqual(refused('limit_exceeded'));
    frames.push(...encodeFrames(bye));
    expect((await one.receive()).message).toEqual(bye);
  });
});
