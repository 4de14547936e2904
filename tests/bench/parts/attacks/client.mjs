/** WebSockets that say which address they come from, as a proxy does, and messages over them. */
import { createChannel, encodeFrames } from '@troupe/protocol';
import { WebSocket } from 'ws';

const BODY_TYPES = /** @type {const} */ (['snapshot', 'lease', 'sources', 'update', 'updateRange']);
const TYPES = /** @type {const} */ ([
  'welcome',
  'joined',
  'subscription',
  'refuse',
  'queued',
  'parked',
  'stop',
  'cancel',
  'seed',
]);

/** @param {string} address @param {string} from the client's address @returns {Promise<WebSocket>} */
export function open(address, from) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(address, { headers: { 'x-forwarded-for': from }, perMessageDeflate: false });
    socket.once('open', () => resolve(socket));
    socket.on('error', reject);
    socket.once('close', () => reject(new Error('closed')));
  });
}

/** @param {WebSocket} socket @param {any} message */
export function send(socket, message) {
  for (const frame of encodeFrames(message)) socket.send(frame);
}

/** The head of each message, whatever the body. @param {WebSocket} socket @param {(message: any) => void} heard */
export function listen(socket, heard) {
  const frames = /** @type {Uint8Array[]} */ ([]);
  /** @type {((frame: Uint8Array) => void) | undefined} */
  let wake;
  socket.on('message', (data, isBinary) => {
    const bytes = /** @type {Buffer} */ (data);
    // Kind 1 is the head of a message. Its body's length is set to 0, so that none is awaited.
    if (!isBinary || bytes[0] !== 1) return;
    const frame = new Uint8Array(bytes);
    frame.fill(0, 8, 16);
    if (wake) wake(frame);
    else frames.push(frame);
  });
  const link = {
    ...{ remote: 'the coordinator', bufferedBytes: 0, send() {}, close() {}, drained: async () => {} },
    receive: () =>
      new Promise((resolve) =>
        frames.length > 0 ? resolve(frames.shift()) : (wake = (frame) => ((wake = undefined), resolve(frame))),
      ),
    closed: new Promise(() => {}),
  };
  const accepts = [...TYPES, ...BODY_TYPES];
  const channel = createChannel(/** @type {any} */ (link), { accepts, bodyBytes: () => 0 });
  void (async () => {
    for (;;) heard((await channel.receive()).message);
  })().catch(() => {});
}
