/** node-datachannel behind the interfaces of browsers, as far as this transport uses them. */
import type { RtcCandidate, RtcChannel, RtcConfig, RtcPeer } from '../webrtc/index.js';
import { nativeServers } from './ice-servers.js';
import type { NativeChannel, NativeModule, NativePeer } from './native.js';

/** An offer is made when the data channel is created, and an answer when an offer is set: inside calls that report what goes wrong. */
export function createPeer({ PeerConnection }: NativeModule, config: RtcConfig): RtcPeer {
  const { iceTransportPolicy } = config;
  const native = new PeerConnection('troupe', { iceServers: nativeServers(config.iceServers), iceTransportPolicy });
  const peer = wrapPeer(native);
  native.onLocalCandidate((candidate, sdpMid) => {
    peer.onicecandidate?.({ candidate: { candidate: candidate.replace(/^a=/, ''), sdpMid, sdpMLineIndex: 0 } });
  });
  native.onStateChange(() => peer.onconnectionstatechange?.());
  native.onIceStateChange(() => peer.oniceconnectionstatechange?.());
  native.onGatheringStateChange(() => peer.onicegatheringstatechange?.());
  native.onDataChannel((channel) => peer.ondatachannel?.({ channel: wrapChannel(channel) }));
  return peer;
}

function wrapPeer(native: NativePeer): RtcPeer {
  return {
    get connectionState() {
      return native.state();
    },
    get iceConnectionState() {
      return native.iceState();
    },
    get iceGatheringState() {
      return native.gatheringState();
    },
    get localDescription() {
      return native.localDescription();
    },
    createDataChannel: (label) => wrapChannel(native.createDataChannel(label)),
    async setLocalDescription() {
      if (!native.localDescription()) throw new Error('there is no local description');
    },
    async setRemoteDescription({ type, sdp }) {
      native.setRemoteDescription(sdp, type);
    },
    async addIceCandidate({ candidate, sdpMid }: RtcCandidate) {
      if (candidate !== '') native.addRemoteCandidate(candidate, sdpMid ?? '0');
    },
    close: () => native.close(),
    ondatachannel: null,
    onicecandidate: null,
    onicecandidateerror: null,
    onicegatheringstatechange: null,
    oniceconnectionstatechange: null,
    onconnectionstatechange: null,
  };
}

function wrapChannel(native: NativeChannel): RtcChannel {
  let threshold = 0;
  const channel: RtcChannel = {
    label: native.getLabel(),
    binaryType: 'arraybuffer',
    get readyState() {
      return native.isOpen() ? 'open' : 'closed';
    },
    get bufferedAmount() {
      return native.bufferedAmount();
    },
    get bufferedAmountLowThreshold() {
      return threshold;
    },
    set bufferedAmountLowThreshold(bytes) {
      if (threshold !== bytes) native.setBufferedAmountLowThreshold((threshold = bytes));
    },
    // False says that the message waits in the buffer.
    send: (message) => void native.sendMessageBinary(message),
    onopen: null,
    onclose: null,
    onerror: null,
    onbufferedamountlow: null,
    onmessage: null,
  };
  native.onOpen(() => channel.onopen?.());
  native.onClosed(() => channel.onclose?.());
  native.onError(() => channel.onerror?.());
  native.onBufferedAmountLow(() => channel.onbufferedamountlow?.());
  native.onMessage((message) => channel.onmessage?.({ data: typeof message === 'string' ? message : wholeBuffer(message) }));
  return channel;
}

/** Small Buffers may share memory with others. */
function wholeBuffer({ buffer, byteOffset, byteLength }: Buffer): ArrayBufferLike {
  return byteLength === buffer.byteLength ? buffer : buffer.slice(byteOffset, byteOffset + byteLength);
}
