/** The part of the package node-datachannel that is used here. Its own types may be absent, because it is optional. */
export interface NativeModule {
  readonly PeerConnection: new (name: string, config: NativeConfig) => NativePeer;
  /** Ends all threads of the library. Blocks for up to 10 s. */
  cleanup(): void;
}

export interface NativeIceServer {
  readonly hostname: string;
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
  readonly relayType?: 'TurnUdp';
}

export interface NativeConfig {
  readonly iceServers: readonly NativeIceServer[];
  readonly iceTransportPolicy: 'all' | 'relay';
}

/** Calls its callbacks in the thread of JavaScript, in a later turn. */
export interface NativePeer {
  state(): string;
  iceState(): string;
  gatheringState(): string;
  localDescription(): { readonly type: string; readonly sdp: string } | null;
  createDataChannel(label: string): NativeChannel;
  setRemoteDescription(sdp: string, type: string): void;
  addRemoteCandidate(candidate: string, mid: string): void;
  close(): void;
  onLocalCandidate(callback: (candidate: string, mid: string) => void): void;
  onStateChange(callback: (state: string) => void): void;
  onIceStateChange(callback: (state: string) => void): void;
  onGatheringStateChange(callback: (state: string) => void): void;
  onDataChannel(callback: (channel: NativeChannel) => void): void;
}

export interface NativeChannel {
  getLabel(): string;
  isOpen(): boolean;
  bufferedAmount(): number;
  setBufferedAmountLowThreshold(bytes: number): void;
  sendMessageBinary(message: Uint8Array): boolean;
  onOpen(callback: () => void): void;
  onClosed(callback: () => void): void;
  onError(callback: (error: string) => void): void;
  onBufferedAmountLow(callback: () => void): void;
  onMessage(callback: (message: string | Buffer) => void): void;
}
