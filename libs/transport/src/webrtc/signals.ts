/** What the two sides of a link tell each other through the signalling before they can talk directly. */
import { LIMITS } from '@troupe/config/limits';
import { TransportError } from '../connection.js';
import type { RtcCandidate } from './rtc.js';

/** Signals are plain data: any encoding that carries strings, numbers and null carries them. */
export type Signal =
  /** `generation` counts the offers of a link from 1; an ICE restart makes a new one. An answer repeats that of its offer. */
  | { readonly type: 'offer'; readonly generation: number; readonly sdp: string }
  | { readonly type: 'answer'; readonly generation: number; readonly sdp: string }
  /** A path on which the sender might be reached. The text is empty after the last one. */
  | ({ readonly type: 'candidate'; readonly generation: number } & RtcCandidate)
  /** The side that answers asks for an ICE restart, which only the other side can begin. `generation` is that of its last answer. */
  | { readonly type: 'restart'; readonly generation: number };

/** Carries signals between the two sides in order, for example over the links to a coordinator. */
export interface Signalling {
  /** Throws when the signalling is lost. */
  send(signal: Signal): void;
  /** The next signal, which need not be valid. Rejects when aborted or lost. */
  receive(abort: AbortSignal): Promise<unknown>;
}

export function badSignal(message: string, options?: ErrorOptions): TransportError {
  const remedy = 'Check that both sides run the same version of Troupe, and that nothing changes their signals.';
  return new TransportError('refused', `the other side sent ${message}`, remedy, options);
}

/**
 * A signal from the other side, checked.
 * @throws TransportError `refused`
 */
export function readSignal(value: unknown): Signal {
  if (typeof value !== 'object' || value === null) throw badSignal('a signal that is not an object');
  const signal = value as Readonly<Record<string, unknown>>;
  switch (signal['type']) {
    case 'offer':
    case 'answer':
      return { type: signal['type'], generation: readGeneration(signal), sdp: readSdp(signal['sdp']) };
    case 'candidate':
      return { type: 'candidate', generation: readGeneration(signal), ...readCandidate(signal) };
    case 'restart':
      return { type: 'restart', generation: readGeneration(signal) };
    default:
      throw badSignal('a signal of an unknown type');
  }
}

function readGeneration({ generation }: Readonly<Record<string, unknown>>): number {
  if (Number.isSafeInteger(generation) && (generation as number) >= 1) return generation as number;
  throw badSignal('a signal without a generation');
}

/** Characters of SDP. All are one byte, so its length in characters is that in bytes. */
const SDP_TEXT = /^[\x20-\x7e\r\n]*$/;
const SDP_NEEDS = ['a=ice-ufrag:', 'a=ice-pwd:', 'a=fingerprint:'];
const SDP_CANDIDATE = 'a=candidate:';

/** Only what a link needs: one data channel. Media sections would have the platform start parts that are not used here. */
function readSdp(sdp: unknown): string {
  if (typeof sdp !== 'string') throw badSignal('a description without SDP');
  if (sdp.length > LIMITS.signalBytes) throw badSignal(`a description of more than ${LIMITS.signalBytes} bytes`);
  if (!sdp.startsWith('v=0') || !SDP_TEXT.test(sdp)) throw badSignal('a description that is not SDP');
  const lines = sdp.split(/\r?\n/);
  const sections = lines.filter((line) => line.startsWith('m='));
  if (sections.length !== 1 || !sections[0].startsWith('m=application '))
    throw badSignal('a description of more than a data channel');
  if (!SDP_NEEDS.every((start) => lines.some((line) => line.startsWith(start)))) throw badSignal('an incomplete description');
  for (const line of lines) if (line.startsWith(SDP_CANDIDATE)) checkCandidate(line.slice('a='.length));
  return sdp;
}

function readCandidate({ candidate, sdpMid, sdpMLineIndex }: Readonly<Record<string, unknown>>): RtcCandidate {
  if (typeof candidate !== 'string') throw badSignal('a candidate without text');
  if (candidate !== '') checkCandidate(candidate);
  const line = sdpMLineIndex ?? null;
  if (line !== null && line !== 0) throw badSignal('a candidate of another section');
  const mid = sdpMid ?? null;
  if (mid !== null && !(typeof mid === 'string' && /^[\w.-]{1,16}$/.test(mid))) throw badSignal('a candidate of another section');
  // Platforms need one of the two, and there is only one section.
  return { candidate, sdpMid: mid, sdpMLineIndex: line ?? (mid === null ? 0 : null) };
}

/** RFC 8839, 5.1: foundation, component, protocol, priority, address, port, type, and what may follow. */
const CANDIDATE =
  /^candidate:[\w+/-]{1,64} \d{1,3} (?:udp|tcp) \d{1,10} ([\w.:-]{1,255}) (\d{1,5}) typ (?:host|srflx|prflx|relay)(?: [\x20-\x7e]*)?$/i;
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;
const IPV6 = /^(?=.*:.*:)[\da-f:.]{2,45}$/i;
/** Browsers hide local addresses behind such names, which only machines of the same network can resolve. */
const MDNS = /^[\w-]{1,63}\.local$/i;

/** Other host names are refused: a peer could have this machine look up any name it likes. */
function checkCandidate(candidate: string): void {
  if (candidate.length > LIMITS.candidateLength) {
    throw badSignal(`a candidate of more than ${LIMITS.candidateLength} characters`);
  }
  const [, address, port] = CANDIDATE.exec(candidate) ?? [];
  if (address === undefined || Number(port) > 65_535) throw badSignal('a malformed candidate');
  if (![IPV4, IPV6, MDNS].some((form) => form.test(address))) {
    throw badSignal(`a candidate with the host name ${address} instead of an address`);
  }
}
