/** The trainer's direct links to other machines, if the volunteer allows them. */
import {
  createPeer,
  createSummingService,
  RTC_ADDRESS,
  type ServiceNote,
  type StarOptions,
  type StarPeer,
} from '@troupe/collective/star';
import { TransportError, type Connection, type TransportErrorCode } from '@troupe/transport';
import type { RtcLinks, RtcRequest } from '@troupe/transport/webrtc';
import type { DirectState } from '../messages.js';

/** Machines without a link of which the last failure is known: those that left long ago say nothing of the network now. */
const KNOWN_FAILURES = 8;

/** Reports what becomes of the links. @param onChange called at once, and after each change */
export function watchLinks(rtc: RtcLinks, onChange: (state: DirectState) => void): RtcLinks {
  const linked = new Map<string, number>();
  const failures = new Map<string, TransportErrorCode>();
  const report = (): void => onChange({ linked: linked.size, failures: [...failures.values()] });
  const change = (remote: string, by: 1 | -1): void => {
    const count = (linked.get(remote) ?? 0) + by;
    if (count > 0) linked.set(remote, count);
    else linked.delete(remote);
    failures.delete(remote);
    report();
  };
  const watch = async (request: RtcRequest, open: RtcLinks['offer']): Promise<Connection> => {
    const { remote } = request;
    try {
      const link = await open(request);
      change(remote, 1);
      void link.closed.then(() => change(remote, -1));
      return link;
    } catch (error) {
      // An attempt that is given up says nothing.
      if (!(error instanceof TransportError) || error.code === 'aborted') throw error;
      failures.delete(remote);
      if (!linked.has(remote)) failures.set(remote, error.code);
      const [oldest] = failures.keys();
      if (failures.size > KNOWN_FAILURES) failures.delete(oldest);
      report();
      throw error;
    }
  };
  report();
  return { offer: (request) => watch(request, rtc.offer), answer: (request) => watch(request, rtc.answer) };
}

export interface SummingPorts {
  readonly deadline: (ms: number) => AbortSignal;
  readonly nowMs: () => number;
  readonly warn: (note: ServiceNote) => void;
  readonly signal: AbortSignal;
}

/** How this device sums for others: they reach it over WebRTC alone. */
function sumOverRtc(rtc: RtcLinks, { deadline, nowMs, warn, signal }: SummingPorts): StarPeer {
  // Nobody knows its token: this service decides nothing.
  const service = createSummingService({ token: newSecret(), secret: newSecret, rtc, deadline, nowMs, warn });
  return createPeer({ addresses: [RTC_ADDRESS], service, warn, signal });
}

/** An unguessable text of 48 hexadecimal digits. */
function newSecret(): string {
  return [...crypto.getRandomValues(new Uint8Array(24))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What the collective needs for them. @param sums this device also sums for others */
export function directOptions(rtc: RtcLinks, sums: boolean, ports: SummingPorts): Pick<StarOptions, 'rtc' | 'peer'> {
  return { rtc, ...(sums && { peer: sumOverRtc(rtc, ports) }) };
}
