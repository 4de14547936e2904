/** WebRTC as those see it who need links and have a way to exchange signals. */
import type { Connection } from '../connection.js';
import { answerRtc, offerRtc, type RtcOptions } from './open.js';
import type { Rtc } from './rtc.js';

/** A link that is to be opened. */
export type RtcRequest = Required<Pick<RtcOptions, 'remote' | 'signalling' | 'iceServers' | 'signal'>>;

/** Opens links over WebRTC. One side offers, the other one answers, both with the same signalling. */
export interface RtcLinks {
  /** @throws TransportError as `offerRtc` does */
  offer(request: RtcRequest): Promise<Connection>;
  /** @throws TransportError as `answerRtc` does */
  answer(request: RtcRequest): Promise<Connection>;
}

/** The links of this thread. In browsers only pages have WebRTC; see `serveRtcBridge` for their workers. */
export function createRtcLinks(rtc: Rtc): RtcLinks {
  return {
    offer: (request) => offerRtc({ rtc, ...request }),
    answer: (request) => answerRtc({ rtc, ...request }),
  };
}
