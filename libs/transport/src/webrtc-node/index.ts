/** WebRTC in Node, by the optional package node-datachannel. */
import type { Rtc } from '../webrtc/index.js';
import type { NativeModule } from './native.js';
import { createPeer } from './peer.js';

export { placeOfIceUrl, probeIceServer, type IceAnswer, type IceProbeOptions, type IceTransport, type IceUrl } from './probe.js';

export interface NodeRtc extends Rtc {
  /**
   * Ends all links of this process and the library's threads, without which the process does not end. Call it last; it blocks for up to 10 s.
   */
  close(): void;
}

const PACKAGE: string = 'node-datachannel';

/**
 * WebRTC, or undefined where the package is not installed or has no build for this platform. The library supports one thread per process:
 * call this in the main thread, or in one worker thread, and nowhere else.
 *
 * The library does not restart ICE, so a link whose path breaks is lost. It reaches TURN servers over UDP alone, and the first two of them.
 * @param load imports a package by name; for tests
 */
export async function findNodeRtc(
  load: (name: string) => Promise<unknown> = (name) => import(name),
): Promise<NodeRtc | undefined> {
  const native = await loadNative(load);
  return native && createNodeRtc(native);
}

async function loadNative(load: (name: string) => Promise<unknown>): Promise<NativeModule | undefined> {
  try {
    return (await load(PACKAGE)) as NativeModule;
  } catch {
    // Absent, or built for another platform: it is optional, and the caller has another transport.
    return undefined;
  }
}

function createNodeRtc(native: NativeModule): NodeRtc {
  return {
    createPeer: (config) => createPeer(native, config),
    after(ms, task) {
      const timer = setTimeout(task, ms);
      return () => clearTimeout(timer);
    },
    close: () => native.cleanup(),
  };
}
