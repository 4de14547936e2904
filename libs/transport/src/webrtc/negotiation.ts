/** Offers, answers and candidates of one link, and restarts of ICE. */
import { LIMITS } from '@troupe/config/limits';
import { TransportError } from '../connection.js';
import { platformFailure } from './failure.js';
import type { RtcCandidate, RtcPeer, RtcRole } from './rtc.js';
import { badSignal, readSignal, type Signal, type Signalling } from './signals.js';

export interface Negotiation {
  /** Whether the other side has described itself. */
  readonly described: boolean;
  /** Whether signals can still be sent and received. */
  readonly signalling: boolean;
  /** Has both sides look for new paths. The offerer begins; the answerer asks it to. */
  restart(): void;
  /** The link is up: from here on the other side may send its full number of signals again. */
  connected(): void;
  stop(): void;
}

interface State {
  /** Of the latest offer. 0: none yet. */
  generation: number;
  /** Of the latest description from the other side. */
  remote: number;
  /** Candidates that came before the description they belong to. */
  early: (RtcCandidate & { readonly generation: number })[];
  /** Signals received since the link was last connected. */
  received: number;
  signalling: boolean;
}

/**
 * Starts at once.
 * @param failed called with `refused` when the other side breaks the rules, and with `lost` when the signalling ends; nothing more is
 * sent or received then
 */
export function negotiate(
  role: RtcRole,
  peer: RtcPeer,
  signalling: Signalling,
  failed: (error: TransportError) => void,
): Negotiation {
  const state: State = { generation: 0, remote: 0, early: [], received: 0, signalling: true };
  const { stop, stopped } = createStop(peer, state);
  const fail = (error: unknown): void => {
    if (!state.signalling) return;
    stop();
    failed(error instanceof TransportError ? error : platformFailure(error));
  };
  const send = (signal: Signal): void => {
    if (state.signalling) sendTo(signalling, signal);
  };
  const inTurn = createTurns();
  const offer = (): Promise<void> => makeOffer(peer, state, send);
  const apply = role === 'offerer' ? createOfferer(peer, state, offer) : createAnswerer(peer, state, send);
  peer.onicecandidate = ({ candidate }) => {
    if (candidate && candidate.candidate !== '') attempt(() => send(candidateSignal(state.generation, candidate)), fail);
  };
  if (role === 'offerer') inTurn(offer).catch(fail);
  listen(signalling, state, stopped, (signal) => inTurn(() => apply(signal))).catch(fail);
  const restartIce = (): void => {
    if (role === 'answerer') attempt(() => send({ type: 'restart', generation: state.generation }), fail);
    else inTurn(() => restart(state, offer)).catch(fail);
  };
  return createHandle(state, restartIce, stop);
}

function createStop(peer: RtcPeer, state: State): { readonly stop: () => void; readonly stopped: AbortSignal } {
  const stopping = new AbortController();
  const stop = (): void => {
    state.signalling = false;
    peer.onicecandidate = null;
    stopping.abort();
  };
  return { stop, stopped: stopping.signal };
}

function createHandle(state: State, restart: () => void, stop: () => void): Negotiation {
  return {
    get described() {
      return state.remote > 0;
    },
    get signalling() {
      return state.signalling;
    },
    restart,
    connected() {
      state.received = 0;
    },
    stop,
  };
}

function attempt(task: () => void, fail: (error: unknown) => void): void {
  try {
    task();
  } catch (error) {
    fail(error);
  }
}

/** Runs tasks one after the other: a description must be in place before the next one changes it. */
function createTurns(): (task: () => Promise<void>) => Promise<void> {
  let tail: Promise<void> = Promise.resolve();
  return (task) => (tail = tail.then(task));
}

async function listen(
  signalling: Signalling,
  state: State,
  abort: AbortSignal,
  apply: (signal: Signal) => Promise<void>,
): Promise<void> {
  while (state.signalling) {
    const signal = readSignal(await receiveFrom(signalling, abort));
    if (++state.received > LIMITS.signalsPerLink) throw badSignal(`more than ${LIMITS.signalsPerLink} signals`);
    await apply(signal);
  }
}

async function makeOffer(peer: RtcPeer, state: State, send: (signal: Signal) => void): Promise<void> {
  state.generation++;
  if (state.generation > 1) peer.restartIce?.();
  await peer.setLocalDescription();
  send({ type: 'offer', generation: state.generation, sdp: peer.localDescription?.sdp ?? '' });
}

/** While an answer is due, a restart is under way already. */
async function restart(state: State, offer: () => Promise<void>): Promise<void> {
  if (state.remote === state.generation) await offer();
}

type Apply = (signal: Signal) => Promise<void>;

function createOfferer(peer: RtcPeer, state: State, offer: () => Promise<void>): Apply {
  return async (signal) => {
    switch (signal.type) {
      case 'offer':
        throw badSignal('an offer, which it has to answer');
      case 'answer':
        if (signal.generation < state.generation) return;
        if (signal.generation > state.generation || state.remote === state.generation)
          throw badSignal('an answer without an offer');
        return describe(peer, state, signal);
      case 'candidate':
        return addCandidate(peer, state, signal);
      case 'restart':
        if (state.remote === 0) throw badSignal('a request to restart before its answer');
        return signal.generation < state.generation ? undefined : restart(state, offer);
    }
  };
}

function createAnswerer(peer: RtcPeer, state: State, send: (signal: Signal) => void): Apply {
  return async (signal) => {
    switch (signal.type) {
      case 'offer':
        if (signal.generation !== state.generation + 1) throw badSignal('an offer out of turn');
        state.generation = signal.generation;
        await describe(peer, state, signal);
        await peer.setLocalDescription();
        return send({ type: 'answer', generation: state.generation, sdp: peer.localDescription?.sdp ?? '' });
      case 'candidate':
        return addCandidate(peer, state, signal);
      case 'answer':
      case 'restart':
        throw badSignal(`the signal "${signal.type}", which only the other side of a link may send`);
    }
  };
}

async function describe(
  peer: RtcPeer,
  state: State,
  { type, generation, sdp }: { readonly type: 'offer' | 'answer'; readonly generation: number; readonly sdp: string },
): Promise<void> {
  try {
    await peer.setRemoteDescription({ type, sdp });
  } catch (cause) {
    throw badSignal(`a description that cannot be used: ${(cause as Error).message}`, { cause });
  }
  state.remote = generation;
  const candidates = state.early;
  state.early = [];
  for (const candidate of candidates) await addCandidate(peer, state, candidate);
}

async function addCandidate(peer: RtcPeer, state: State, early: State['early'][number]): Promise<void> {
  const { generation, candidate, sdpMid, sdpMLineIndex } = early;
  if (generation < state.generation) return;
  if (generation > state.remote) {
    if (state.early.length >= LIMITS.signalsPerLink) throw badSignal('too many candidates before its description');
    state.early.push(early);
    return;
  }
  try {
    await peer.addIceCandidate({ candidate, sdpMid, sdpMLineIndex });
  } catch {
    // One that this platform cannot use is one path less: of another address family, or from before a restart.
  }
}

function sendTo(signalling: Signalling, signal: Signal): void {
  try {
    signalling.send(signal);
  } catch (cause) {
    throw signallingLost(cause);
  }
}

async function receiveFrom(signalling: Signalling, abort: AbortSignal): Promise<unknown> {
  try {
    return await signalling.receive(abort);
  } catch (cause) {
    throw signallingLost(cause);
  }
}

function signallingLost(cause: unknown): TransportError {
  const message = `the signalling ended: ${(cause as Error).message}`;
  return new TransportError('lost', message, 'Check the connection to the coordinator, then connect again.', { cause });
}

function candidateSignal(generation: number, { candidate, sdpMid, sdpMLineIndex }: RtcCandidate): Signal {
  return { type: 'candidate', generation, candidate, sdpMid, sdpMLineIndex };
}
