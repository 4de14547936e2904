/** Starts trainers, and holds the direct links that they use. */
import { browserRtc, serveRtcBridge, type RtcBridge } from '@troupe/transport/browser';
import { createRtcLinks } from '@troupe/transport/webrtc';
import type { DirectLinks, Report } from '../messages.js';
import type { TrainerHandle } from '../session.js';

const rtc = browserRtc();

/** Whether this browser can open direct links. */
export const hasDirectLinks = rtc !== undefined;

/** @param direct what the trainer may do with direct links, where the browser has them; undefined: it gets none */
export function openTrainer(direct: Pick<DirectLinks, 'sums'> | undefined, onReport: (report: Report) => void): TrainerHandle {
  const worker = new Worker(new URL('./trainer.js', import.meta.url), { type: 'module' });
  const bridge = direct ? openBridge() : undefined;
  worker.addEventListener('message', ({ data }: MessageEvent<Report>) => onReport(data));
  worker.addEventListener('error', ({ message }) => {
    const failure = { code: 'internal', message: message || 'the trainer script did not load', remedy: '' };
    onReport({ kind: 'ended', failure });
  });
  return {
    post(order) {
      if (order.kind === 'start' && bridge)
        worker.postMessage({ ...order, direct: { ...direct, port: bridge.port } }, [bridge.port]);
      else worker.postMessage(order);
    },
    terminate() {
      worker.terminate();
      bridge?.served.end('its trainer has ended');
    },
  };
}

interface Bridge {
  readonly served: RtcBridge;
  /** The trainer's end. */
  readonly port: MessagePort;
}

function openBridge(): Bridge | undefined {
  if (!rtc) return undefined;
  const { port1, port2 } = new MessageChannel();
  return { served: serveRtcBridge(port1, createRtcLinks(rtc)), port: port2 };
}
