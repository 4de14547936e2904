import type { Rtc, RtcConfig, RtcPeer } from '../webrtc/index.js';

/** RTCPeerConnection of browsers. */
export type RtcPeerConstructor = new (config: RtcConfig) => RtcPeer;

/**
 * The WebRTC of a page. Undefined where there is none: browsers have it in pages, and not in workers.
 * @param RTCPeerConnection default: the platform's own
 */
export function browserRtc(RTCPeerConnection = platformPeer()): Rtc | undefined {
  if (!RTCPeerConnection) return undefined;
  return {
    createPeer: (config) => new RTCPeerConnection(config),
    after(ms, task) {
      const timer = setTimeout(task, ms);
      return () => clearTimeout(timer);
    },
  };
}

function platformPeer(): RtcPeerConstructor | undefined {
  return (globalThis as { readonly RTCPeerConnection?: unknown }).RTCPeerConnection as RtcPeerConstructor | undefined;
}
