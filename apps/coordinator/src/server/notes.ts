/** What the organizer cannot see from here: how browsers on other machines will treat this server. */
import { isLoopback } from './addresses.js';
import type { Certificate } from './certificate.js';

export interface Note {
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

/** What decides who reaches the server, and how. */
export interface Exposure {
  /** The address it listens on, without a port. */
  readonly host: string;
  readonly behindProxy: boolean;
  readonly allowedHosts: readonly string[];
  readonly certificate: Pick<Certificate, 'expires'> | undefined;
}

const DAY_MS = 86_400_000;
/** A certificate that expires within this time is warned about. */
const SOON_DAYS = 7;

/** @returns undefined while there is plenty of time to renew it */
export function expiryNote({ expires }: Pick<Certificate, 'expires'>, nowMs: number): Note | undefined {
  const leftMs = expires.getTime() - nowMs;
  if (leftMs > SOON_DAYS * DAY_MS) return undefined;
  return {
    level: 'warn',
    text: `the certificate ${leftMs > 0 ? 'expires' : 'has expired'} on ${expires.toISOString()}`,
    remedy: 'Renew it: the new one is taken up as soon as it is in its place. Browsers and workers turn an expired one down.',
  };
}

/** Notes for the start of the server. */
export function securityNotes(exposure: Exposure, nowMs: number): Note[] {
  const expiry = exposure.certificate && expiryNote(exposure.certificate, nowMs);
  return [...(expiry ? [expiry] : []), ...proxyNotes(exposure), ...reachNotes(exposure)];
}

function proxyNotes({ host, behindProxy, allowedHosts }: Exposure): Note[] {
  if (!behindProxy) return [];
  const notes: Note[] = [];
  if (!allowedHosts.some((name) => name !== '*')) {
    notes.push({
      level: 'warn',
      text: 'the links above are not those of the proxy: give its name with --allow-host NAME, and browsers get in by it as well',
    });
  }
  if (!isLoopback(host)) {
    notes.push({
      level: 'warn',
      text: 'whoever reaches this port without the proxy can claim any address and any name: --host 127.0.0.1 keeps them off',
    });
  }
  return notes;
}

function reachNotes({ host, behindProxy, certificate }: Exposure): Note[] {
  const local = isLoopback(host);
  if (certificate && local) return [{ level: 'info', text: 'it listens for this machine only: --host 0.0.0.0 lets others in' }];
  if (certificate || behindProxy || local) return [];
  const text =
    'browsers on other machines will compute on one core and without GPU, as they keep the rest for https: give --tls-cert and ' +
    '--tls-key, or put a proxy in front (--behind-proxy)';
  return [{ level: 'info', text }];
}
