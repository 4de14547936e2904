/** Asks STUN and TURN servers directly what the WebRTC library does not tell: whether they answer, and whether they take the credentials. */
import { randomBytes } from 'node:crypto';
import type { IceServer } from '../webrtc/index.js';
import { readIceUrl } from './ice-servers.js';
import { readAnswer, STUN, TRANSACTION_BYTES, writeRequest, type StunAnswer, type StunRequest } from './stun-message.js';
import { openStunSocket, type OpenStunSocket, type StunPlace, type StunSocket } from './stun-socket.js';

/** How one server answers. */
export type IceAnswer =
  /** `seenAs`: the address and port from which the server sees this machine. `relay`: what a TURN server gave it. */
  | { readonly kind: 'answered'; readonly ms: number; readonly seenAs?: string; readonly relay?: string }
  /** A TURN server that does not take the credentials. */
  | { readonly kind: 'refused'; readonly code: number; readonly reason: string }
  /** It answers, and gives no relay for another reason. */
  | { readonly kind: 'failed'; readonly code: number; readonly reason: string }
  /** No answer in time. */
  | { readonly kind: 'silent' }
  /** The name does not resolve, nothing listens, or no connection can be made. */
  | { readonly kind: 'unreachable'; readonly reason: string };

export interface IceProbeOptions {
  readonly signal: AbortSignal;
  /** For the whole exchange. Default 3 s. */
  readonly timeoutMs?: number;
  /** Monotonic, ms. */
  readonly nowMs: () => number;
  readonly open?: OpenStunSocket;
  /** Unguessable bytes. */
  readonly random?: (bytes: number) => Uint8Array;
}

export type IceTransport = StunPlace['transport'] | 'dtls';

export interface IceUrl extends Pick<StunPlace, 'host' | 'port'> {
  readonly isTurn: boolean;
  readonly transport: IceTransport;
}

/** Resends over UDP, which may lose packets: after 0.3 s, then after twice as long each time. */
const RESEND_MS = 300;
const TIMEOUT_MS = 3_000;
/** What a TURN server answers to credentials that it does not take (RFC 8656). */
const UNAUTHORIZED = new Set([401, 403, 441]);
const STALE_NONCE = 438;

/** Where the URL of a STUN or TURN server leads, and how. @throws Error for a URL that is not one */
export function placeOfIceUrl(url: string): IceUrl {
  const { scheme, host, port, transport } = readIceUrl(url);
  const isSecure = scheme.endsWith('s');
  const over = transport ?? (isSecure ? 'tcp' : 'udp');
  return { host, port, isTurn: scheme.startsWith('turn'), transport: !isSecure ? over : over === 'tcp' ? 'tls' : 'dtls' };
}

/**
 * Asks a STUN server for this machine's address, or a TURN server for a relay, which is given back at once. Never rejects, except when
 * `signal` aborts.
 */
export async function probeIceServer(
  place: StunPlace & Pick<IceUrl, 'isTurn'>,
  login: Pick<IceServer, 'username' | 'credential'>,
  options: IceProbeOptions,
): Promise<IceAnswer> {
  const { signal, timeoutMs = TIMEOUT_MS, nowMs, open = openStunSocket } = options;
  const timeout = AbortSignal.timeout(timeoutMs);
  const until = AbortSignal.any([signal, timeout]);
  let socket: StunSocket | undefined;
  try {
    socket = await open(place, until);
    const exchange = createExchange(socket, place.transport === 'udp', until, options.random ?? randomBytes);
    const startedMs = nowMs();
    const first = await exchange({ method: place.isTurn ? STUN.allocate : STUN.binding });
    const ms = nowMs() - startedMs;
    return place.isTurn ? await allocate(exchange, first, login, ms) : answered(first, ms);
  } catch (error) {
    signal.throwIfAborted();
    return timeout.aborted ? { kind: 'silent' } : { kind: 'unreachable', reason: (error as Error).message };
  } finally {
    socket?.close();
  }
}

type Exchange = (request: Omit<StunRequest, 'transaction'>) => Promise<StunAnswer>;

/** The server names its realm when it first refuses; with that, the credentials can be shown. */
async function allocate(
  exchange: Exchange,
  first: StunAnswer,
  { username = '', credential = '' }: Pick<IceServer, 'username' | 'credential'>,
  ms: number,
): Promise<IceAnswer> {
  let answer = first;
  let login: StunRequest['login'];
  for (let tries = 0; tries < 2 && asksForLogin(answer); tries++) {
    const { realm = '', nonce = '' } = answer;
    if (login && answer.error?.code !== STALE_NONCE) break;
    login = { username, credential, realm, nonce };
    answer = await exchange({ method: STUN.allocate, login });
  }
  // A relay that cannot be given back expires by itself, and says nothing about the server.
  if (answer.isSuccess) await exchange({ method: STUN.refresh, lifetimeS: 0, ...(login && { login }) }).catch(() => undefined);
  return answered(answer, ms);
}

function asksForLogin({ isSuccess, error, nonce }: StunAnswer): boolean {
  return !isSuccess && nonce !== undefined && (error?.code === 401 || error?.code === STALE_NONCE);
}

function answered({ isSuccess, error, mapped, relayed }: StunAnswer, ms: number): IceAnswer {
  if (isSuccess) return { kind: 'answered', ms, ...(mapped && { seenAs: mapped }), ...(relayed && { relay: relayed }) };
  const { code = 0, reason = '' } = error ?? {};
  return { kind: UNAUTHORIZED.has(code) ? 'refused' : 'failed', code, reason };
}

/** One request after the other. @returns what sends a request until its answer comes */
function createExchange(
  socket: StunSocket,
  resends: boolean,
  until: AbortSignal,
  random: (bytes: number) => Uint8Array,
): Exchange {
  return async (request) => {
    until.throwIfAborted();
    const transaction = random(TRANSACTION_BYTES);
    const message = writeRequest({ ...request, transaction });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const send = (waitMs: number): void => {
      socket.send(message);
      if (resends) timer = setTimeout(send, waitMs, waitMs * 2);
    };
    const isMine = ({ method, transaction: theirs }: StunAnswer): boolean =>
      method === request.method && Buffer.compare(theirs, transaction) === 0;
    const answer = waitForAnswer(socket, until, isMine);
    send(RESEND_MS);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  };
}

async function waitForAnswer(
  socket: StunSocket,
  until: AbortSignal,
  isMine: (answer: StunAnswer) => boolean,
): Promise<StunAnswer> {
  let stop = (): void => {};
  try {
    return await new Promise((resolve, reject) => {
      stop = () => reject(until.reason as Error);
      until.addEventListener('abort', stop, { once: true });
      socket.onerror = reject;
      socket.onmessage = (bytes) => {
        const answer = readAnswer(bytes);
        if (answer && isMine(answer)) resolve(answer);
      };
    });
  } finally {
    until.removeEventListener('abort', stop);
  }
}
