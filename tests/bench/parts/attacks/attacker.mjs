/**
 * A client that attacks a coordinator until it is told to stop. Arguments: the coordinator's address without a path, and the name of an attack.
 * It prints {"attacking": true} when the attack is under way, and {"sent": N} in the end; the token is in TROUPE_TOKEN. It says that it comes from other
 * addresses, so the coordinator must run with --behind-proxy.
 */
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { PROTOCOL_VERSION } from '@troupe/protocol';
import * as client from './client.mjs';

/** @typedef {import('ws').WebSocket} WebSocket */

const [address, attack] = process.argv.slice(2);
const stop = new globalThis.AbortController();
const { signal } = stop;
/** @type {Set<{ destroy: () => void }>} */
const sockets = new Set();
/** Before a link or socket that was closed is opened again. */
const REOPEN_MS = 2_000;
let sent = 0;

/** An address of the documentation's networks (RFC 5737). @param {number} k */
const from = (k) => `198.51.${100 + (k >> 8)}.${k & 255}`;

/** @param {string} path @param {number} k whose address it has */
async function open(path, k) {
  const socket = await client.open(address + path, from(k));
  const opened = { destroy: () => socket.terminate() };
  sockets.add(opened);
  socket.once('close', () => sockets.delete(opened));
  return socket;
}

/** @param {import('ws').WebSocket} socket @param {any} message */
function send(socket, message) {
  sent++;
  client.send(socket, message);
}

/** A worker that has been welcomed. @param {number} k @param {(socket: WebSocket, message: any) => void} heard */
async function join(k, heard = () => {}) {
  const socket = await open('/control', k);
  const welcomed = new Promise((resolve) =>
    client.listen(socket, (message) => (message.type === 'welcome' ? resolve(message) : heard(socket, message))),
  );
  send(socket, {
    type: 'hello',
    versions: [PROTOCOL_VERSION],
    token: process.env.TROUPE_TOKEN,
    name: `attacker-${k}`,
    kind: 'node',
    credited: false,
    team: '',
  });
  return { socket, welcome: await welcomed };
}

/** Sends as much as the other side reads. @param {WebSocket} socket @param {() => any} message @param {number} [perSecond] */
async function flood(socket, message, perSecond = Infinity) {
  const startMs = performance.now();
  let mine = 0;
  while (!signal.aborted && socket.readyState === socket.OPEN) {
    while (socket.bufferedAmount < 65_536 && mine < ((performance.now() - startMs) / 1000) * perSecond && mine % 256 !== 255) {
      send(socket, message());
      mine++;
    }
    mine++;
    await delay(1);
  }
}

const resync = () => ({ type: 'resync', reason: 'again', round: 0, fromPeers: false });

/** One frame of a message that is nothing but empty maps. */
function emptyMaps() {
  const payload = new Uint8Array(190 * 1024).fill(0x80);
  payload.set([0x81, 0xa1, 0x78, 0xdd, 0, 0, 0, 0]);
  new DataView(payload.buffer).setUint32(4, payload.length - 8);
  const frame = new Uint8Array(16 + payload.length);
  frame.set([1, 1]);
  frame.set(payload, 16);
  return frame;
}

/** @param {number} count @param {(k: number) => Promise<unknown>} act */
async function all(count, act) {
  for (let k = 0; k < count; k += 25)
    await Promise.allSettled(Array.from({ length: Math.min(25, count - k) }, (_, i) => act(k + i)));
}

/** Opens it again whenever it is closed. @param {() => Promise<WebSocket>} connect */
async function keep(connect) {
  while (!signal.aborted) {
    const socket = await connect().catch(() => undefined);
    sent++;
    if (socket) await new Promise((resolve) => socket.once('close', resolve));
    await delay(REOPEN_MS);
  }
}

/** @type {Record<string, () => Promise<void>>} Each resolves when it is under way */
const ATTACKS = {
  async 'resync from one link'() {
    const { socket } = await join(0);
    void flood(socket, resync);
  },
  async 'resync from 50 links'() {
    await all(50, async (k) => void flood((await join(k)).socket, resync, 200));
  },
  async 'declines of no lease'() {
    const { socket } = await join(0);
    void flood(socket, () => ({ type: 'decline', leaseId: '0-0', round: 0, code: 'engine', reason: 'none' }), 26_000);
  },
  async 'not read by the coordinator'() {
    const { socket } = await join(0);
    const reason = 'x'.repeat(500);
    void flood(socket, () => ({ type: 'decline', leaseId: '0-0', round: 0, code: 'engine', reason }));
  },
  async 'declines at will'() {
    await all(2, async (k) => {
      let round = 0;
      let speed = 20_000;
      const say = (/** @type {WebSocket} */ socket) =>
        send(socket, {
          ...{ type: 'ready', round, layoutHash: welcome.layoutHash, parametersDigest: '0'.repeat(16) },
          ...{ engine: 'wasm', device: 'none', charsPerSecond: (speed += 1) },
        });
      const { socket, welcome } = await join(k, (link, message) => {
        if (message.type === 'snapshot') ({ round } = message);
        if (message.type === 'snapshot') say(link);
        if (message.type !== 'lease') return;
        ({ round } = message);
        send(link, { type: 'decline', leaseId: message.leaseId, round, code: 'engine', reason: 'at will' });
        say(link);
      });
      send(socket, resync());
    });
  },
  async 'empty maps'() {
    const frame = emptyMaps();
    const perSecond = 3_000_000 / frame.length;
    void (async () => {
      for (let k = 0; !signal.aborted; k++) {
        const socket = await open('/control', k % 64).catch(() => undefined);
        socket?.on('error', () => {});
        socket?.send(frame);
        sent++;
        await delay(1000 / perSecond);
      }
    })();
  },
  async 'silent links'() {
    for (let k = 0; k < 512; k++) void keep(() => open(k % 2 === 0 ? '/control' : '/reduce', k));
    await delay(3_000);
  },
  async 'silent sockets'() {
    const { hostname, port } = new URL(address);
    const one = () => {
      const socket = net.connect(Number(port), hostname).on('error', () => {});
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return /** @type {Promise<any>} */ (Promise.resolve(socket));
    };
    for (let k = 0; k < 1_000; k++) void keep(one);
    await delay(2_000);
  },
  async 'idle members'() {
    await all(2_000, async (k) => {
      const { welcome } = await join(k);
      const { runId, workerId, ticket } = welcome;
      const socket = await open('/reduce', k);
      send(socket, { type: 'join', versions: [PROTOCOL_VERSION], runId, workerId, ticket });
    });
    // Until the service has stopped sending them updates.
    await delay(3_000);
  },
};

// Until it is told to stop, even if all of its links are closed.
const alive = setInterval(() => {}, 1_000);
process.once('SIGTERM', () => {
  clearInterval(alive);
  stop.abort(new Error('the benchmark has ended'));
  console.log(JSON.stringify({ sent }));
  for (const socket of sockets) socket.destroy();
});
await ATTACKS[attack]();
console.log(JSON.stringify({ attacking: true }));
