import { LIMITS } from '@troupe/config/limits';
import { TransportError, type CloseInfo, type Connection } from '../connection.js';
import { aborted } from '../link.js';
import { explainFailure, explainNoPath, explainTimeout, platformFailure, type Attempt } from './failure.js';
import { createLink, type RtcLink, type RtcLinkOptions } from './link.js';
import { violation } from './messages.js';
import { negotiate, type Negotiation } from './negotiation.js';
import type { IceServer, Rtc, RtcChannel, RtcPeer, RtcRole } from './rtc.js';
import type { Signalling } from './signals.js';

export interface RtcOptions extends RtcLinkOptions {
  readonly rtc: Rtc;
  /** To the other side. Used until the link ends, because a link whose path breaks looks for another one. */
  readonly signalling: Signalling;
  /** Default: none, which is enough within a network. */
  readonly iceServers?: readonly IceServer[];
  /** `relay`: only paths through a TURN server. Default `all`. */
  readonly iceTransportPolicy?: 'all' | 'relay';
  readonly signal?: AbortSignal;
  /** Time until the link is open and the other side has spoken. Default 15 s. */
  readonly connectTimeoutMs?: number;
}

/** Of the one data channel of a link. */
const LABEL = 'troupe';
/** What a TURN server answers to bad credentials (RFC 8656). */
const CREDENTIAL_ERRORS = new Set([400, 401, 403, 431, 438, 441]);
const REACHED = new Set(['connected', 'completed']);

/**
 * Opens a link to a side that calls `answerRtc` with the other end of the same signalling.
 * @throws TransportError `unreachable` (no path between the two), `timeout` (the other side does not answer or says nothing), `refused` (it
 * breaks the rules, or WebRTC does not work here), `lost` (the signalling or the link ended early), `invalid_address` (the ICE servers)
 * or `aborted`
 */
export function offerRtc(options: RtcOptions): Promise<Connection> {
  return open('offerer', options);
}

/** Opens a link to a side that calls `offerRtc`, and throws the same errors. */
export function answerRtc(options: RtcOptions): Promise<Connection> {
  return open('answerer', options);
}

async function open(role: RtcRole, options: RtcOptions): Promise<Connection> {
  if (options.signal?.aborted) throw aborted(options.signal);
  const session = createSession(role, createPeer(options), options);
  const stopWaiting = limitWait(session);
  try {
    start(session);
    return await session.ready;
  } catch (error) {
    abandon(session, (error as Error).message);
    throw error;
  } finally {
    stopWaiting();
  }
}

function createPeer({ rtc, iceServers = [], iceTransportPolicy = 'all' }: RtcOptions): RtcPeer {
  try {
    return rtc.createPeer({ iceServers, iceTransportPolicy });
  } catch (cause) {
    const message = `WebRTC does not start: ${(cause as Error).message}`;
    throw new TransportError('invalid_address', message, 'Check the addresses of the STUN and TURN servers.', { cause });
  }
}

/** What is known of a link from the first signal to its end. */
interface Session {
  readonly role: RtcRole;
  readonly peer: RtcPeer;
  readonly options: RtcOptions;
  /** Resolves when the other side has spoken. */
  readonly ready: Promise<Connection>;
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: TransportError) => void;
  negotiation?: Negotiation;
  link?: RtcLink;
  /** `ready` is resolved. */
  open: boolean;
  /** The two sides have reached each other. */
  connected: boolean;
  /** Both sides can restart ICE. */
  restartsIce: boolean;
  /** A TURN server that refused the credentials. */
  refusedBy: string | undefined;
}

function createSession(role: RtcRole, peer: RtcPeer, options: RtcOptions): Session {
  let resolve!: Session['resolve'];
  let reject!: Session['reject'];
  const ready = new Promise<Connection>((...settle) => ([resolve, reject] = settle));
  const state = { open: false, connected: false, restartsIce: false, refusedBy: undefined };
  return { role, peer, options, ready, resolve, reject, ...state };
}

/** @returns a function that ends the deadline */
function limitWait(session: Session): () => void {
  const { rtc, signal, connectTimeoutMs = LIMITS.rtcConnectMs } = session.options;
  const onAbort = (): void => session.reject(aborted(signal!));
  const cancel = rtc.after(connectTimeoutMs, () => session.reject(explainTimeout(attemptOf(session))));
  signal?.addEventListener('abort', onAbort, { once: true });
  return () => {
    cancel();
    signal?.removeEventListener('abort', onAbort);
  };
}

function start(session: Session): void {
  const { role, peer, options } = session;
  watchPeer(session);
  try {
    if (role === 'offerer') takeOver(session, peer.createDataChannel(LABEL));
  } catch (error) {
    return session.reject(platformFailure(error));
  }
  session.negotiation = negotiate(role, peer, options.signalling, (error) => {
    if (!session.open) session.reject(error);
    // An open link does without the signalling, as long as its path holds.
    else if (error.code !== 'lost') session.link?.lose(error.message);
  });
}

function watchPeer(session: Session): void {
  const { peer } = session;
  peer.ondatachannel = ({ channel }) => {
    // The offerer has its channel already.
    if (!session.link && channel.label === LABEL) takeOver(session, channel);
    else breakOff(session, violation('the other side opened a data channel too many'));
  };
  peer.onconnectionstatechange = () => onStateChange(session, peer.connectionState);
  peer.oniceconnectionstatechange = () => {
    session.connected ||= REACHED.has(peer.iceConnectionState);
  };
  peer.onicecandidateerror = ({ errorCode, url = '' }) => {
    if (CREDENTIAL_ERRORS.has(errorCode)) session.refusedBy = url;
  };
  peer.onicegatheringstatechange = () => {
    const { iceTransportPolicy } = session.options;
    if (iceTransportPolicy !== 'relay' || peer.iceGatheringState !== 'complete' || session.open) return;
    // Without a relay there will be no path, so nobody has to wait for the deadline.
    if (!hasRelay(peer)) session.reject(explainNoPath(attemptOf(session)));
  };
}

function onStateChange(session: Session, state: string): void {
  if (state === 'connected') {
    session.negotiation?.connected();
    session.link?.heard();
  } else if (!session.open) {
    if (state === 'failed' || state === 'closed') session.reject(explainFailure(attemptOf(session)));
  } else if (state === 'closed') session.link?.lose('the connection broke off');
  else if (state === 'disconnected' || state === 'failed') findPath(session, state);
}

/** The path is gone. If no other is found, the silence ends the link. */
function findPath({ restartsIce, negotiation, link }: Session, state: string): void {
  if (restartsIce && negotiation?.signalling) negotiation.restart();
  else if (state === 'failed') link?.lose('the path to the other side is gone');
}

function takeOver(session: Session, channel: RtcChannel): void {
  const { peer, options, resolve, reject } = session;
  const restartsIce = peer.restartIce !== undefined;
  const link = createLink(channel, options, {
    after: options.rtc.after,
    hello: { restartsIce },
    greeted(hello) {
      session.open = true;
      session.restartsIce = hello.restartsIce && restartsIce;
      resolve(link.connection);
    },
    closePeer: () => free(session),
  });
  session.link = link;
  void link.connection.closed.then((info) => reject(endedEarly(options.remote, info)));
}

/** The other side breaks the rules. */
function breakOff(session: Session, error: TransportError): void {
  session.reject(error);
  abandon(session, error.message);
}

function abandon(session: Session, reason: string): void {
  if (session.link) session.link.lose(reason);
  else free(session);
}

function free({ negotiation, peer }: Session): void {
  negotiation?.stop();
  peer.ondatachannel = peer.onconnectionstatechange = peer.oniceconnectionstatechange = null;
  peer.onicecandidateerror = peer.onicegatheringstatechange = null;
  peer.close();
}

function endedEarly(remote: string, { reason }: CloseInfo): TransportError {
  const message = `the link to ${remote} ended before it was ready: ${reason}`;
  return new TransportError('lost', message, 'Check that both sides run the same version of Troupe, then connect again.');
}

function hasRelay({ localDescription }: RtcPeer): boolean {
  return / typ relay/.test(localDescription?.sdp ?? '');
}

function attemptOf(session: Session): Attempt {
  const { role, peer, options, connected, refusedBy } = session;
  const urls = (options.iceServers ?? []).flatMap((server) => server.urls);
  return {
    role,
    remote: options.remote,
    timeoutMs: options.connectTimeoutMs ?? LIMITS.rtcConnectMs,
    described: session.negotiation?.described ?? false,
    connected,
    turn: urls.some((url) => url.startsWith('turn')),
    relayed: hasRelay(peer),
    refusedBy,
  };
}
