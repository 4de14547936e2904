/** The star service of a thread or process that only listens: it sums, and decides nothing. */
import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { createSendBudget, LIMITS } from '@troupe/protocol';
import type { RtcLinks } from '@troupe/transport/webrtc';
import { createStarService, type ServiceNote, type StarService } from '../star/index.js';

/** An unguessable text in letters, digits, - and _. */
export function newSecret(): string {
  return randomBytes(24).toString('base64url');
}

export interface ListeningServiceOptions {
  readonly token: string;
  /** Receives what is wrong with a link; which links come and go is no news. */
  readonly warn: (note: ServiceNote) => void;
  /** Answers links over WebRTC; absent: none are answered. */
  readonly rtc?: RtcLinks;
}

export function createListeningService({ token, warn, rtc }: ListeningServiceOptions): StarService {
  return createStarService({
    token,
    secret: newSecret,
    log: (note) => (note.level === 'warn' ? warn(note) : undefined),
    budget: createSendBudget({ onEvicted: ({ text, remedy }) => warn({ level: 'warn', text, remedy }) }),
    deadline: (ms) => AbortSignal.timeout(ms),
    nowMs: () => performance.now(),
    strangers: LIMITS.unauthenticatedLinks,
    ...(rtc && { rtc }),
  });
}
