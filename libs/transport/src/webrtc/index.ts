export { createRtcLinks, type RtcLinks, type RtcRequest } from './links.js';
export { answerRtc, offerRtc, type RtcOptions } from './open.js';
export {
  type IceServer,
  type Rtc,
  type RtcCandidate,
  type RtcChannel,
  type RtcConfig,
  type RtcDescription,
  type RtcPeer,
} from './rtc.js';
export { readSignal, type Signal, type Signalling } from './signals.js';
export { turnCredentials, type TurnAccess } from './turn.js';
