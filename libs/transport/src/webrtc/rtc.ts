/** The part of WebRTC that is used here, and what a platform must offer for it. */

export interface IceServer {
  /** "stun:HOST:PORT" or "turn:HOST:PORT?transport=udp", one or several. */
  readonly urls: string | readonly string[];
  /** For TURN; see `turnCredentials`. */
  readonly username?: string;
  readonly credential?: string;
}

export interface RtcConfig {
  readonly iceServers: readonly IceServer[];
  /** `relay`: only paths through a TURN server. */
  readonly iceTransportPolicy: 'all' | 'relay';
}

/** A platform with WebRTC. Browsers: `browserRtc`; Node: `findNodeRtc`. */
export interface Rtc {
  /** Throws when the configuration is wrong. */
  createPeer(config: RtcConfig): RtcPeer;
  /** Runs `task` once after `ms`. @returns a function that cancels it */
  after(ms: number, task: () => void): () => void;
}

export interface RtcDescription {
  readonly type: string;
  readonly sdp?: string | undefined;
}

export interface RtcCandidate {
  readonly candidate: string;
  readonly sdpMid: string | null;
  readonly sdpMLineIndex: number | null;
}

/** The part of an RTCPeerConnection that is used here. */
export interface RtcPeer {
  readonly connectionState: string;
  readonly iceConnectionState: string;
  readonly iceGatheringState: string;
  readonly localDescription: RtcDescription | null;
  createDataChannel(label: string): RtcChannel;
  /** Makes the offer or the answer that is due. */
  setLocalDescription(): Promise<void>;
  setRemoteDescription(description: { readonly type: 'offer' | 'answer'; readonly sdp: string }): Promise<void>;
  addIceCandidate(candidate: RtcCandidate): Promise<void>;
  /** Absent where the platform cannot restart ICE. */
  restartIce?(): void;
  close(): void;
  ondatachannel: ((event: { readonly channel: RtcChannel }) => void) | null;
  onicecandidate: ((event: { readonly candidate: RtcCandidate | null }) => void) | null;
  /** A STUN or TURN server refused or did not answer. */
  onicecandidateerror: ((event: { readonly errorCode: number; readonly url?: string }) => void) | null;
  onicegatheringstatechange: (() => void) | null;
  oniceconnectionstatechange: (() => void) | null;
  onconnectionstatechange: (() => void) | null;
}

/** The part of an RTCDataChannel that is used here. */
export interface RtcChannel {
  readonly label: string;
  readonly readyState: string;
  readonly bufferedAmount: number;
  /** `onbufferedamountlow` is called when `bufferedAmount` falls to this many bytes from above. */
  bufferedAmountLowThreshold: number;
  binaryType: string;
  send(message: Uint8Array<ArrayBuffer>): void;
  onopen: (() => void) | null;
  onclose: (() => void) | null;
  onerror: (() => void) | null;
  onbufferedamountlow: (() => void) | null;
  onmessage: ((event: { readonly data: unknown }) => void) | null;
}

/** The side that offers makes the data channel, and alone begins a restart of ICE. */
export type RtcRole = 'offerer' | 'answerer';
