/** Notes for the organizer on what they cannot see themselves: how browsers on other machines treat this server. */
import { isLoopback } from '@troupe/process';
import type { Certificate } from './certificate.js';

export interface Note {
  readonly level: 'info' | 'warn';
  readonly text: string;
  readonly remedy?: string;
}

/** Who can reach the server, and how. */
export interface Exposure {
  /** The address it listens on, without a port. */
  readonly host: string;
  readonly behindProxy: boolean;
  readonly allowedHosts: readonly string[];
  readonly certificate: Pick<Certificate, 'expires'> | undefined;
}

const DAY_MS = 86_400_000;
/** Time before the expiry of a certificate in which there are warnings. */
const SOON_DAYS = 7;

/** @returns undefined if there is plenty of time to renew it */
export function expiryNote({ expires }: Pick<Certificate, 'expires'>, nowMs: number): Note | undefined {
  const leftMs = expires.getTime() - nowMs;
  if (leftMs > SOON_DAYS * DAY_MS) return undefined;
  return {
    level: 'warn',
    text: `the certificate ${leftMs > 0 ? 'expires' : 'has expired'} on ${expires.toISOString()}`,
    remedy: 'Renew it and replace its files; they are loaded within seconds. Browsers and workers refuse an expired certificate.',
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
      text: 'the printed links do not lead to the proxy, because its name is not known',
      remedy: 'Add --allow-host NAME with the host name of the proxy; browsers can then use that name.',
    });
  }
  if (!isLoopback(host)) {
    notes.push({
      level: 'warn',
      text: 'clients that bypass the proxy can claim any address and host name, because other machines can connect to this port',
      remedy: 'If the proxy runs on this machine, add --host 127.0.0.1; otherwise allow only the proxy in the firewall.',
    });
  }
  return notes;
}

function reachNotes({ host, behindProxy, certificate }: Exposure): Note[] {
  const local = isLoopback(host);
  if (certificate && local) {
    const text = 'only this machine can connect, although there is a certificate';
    return [{ level: 'info', text, remedy: 'Add --host 0.0.0.0 to let other machines connect.' }];
  }
  if (certificate || behindProxy || local) return [];
  const text = 'browsers on other machines can use only one core and no GPU, because they allow more only over https';
  return [{ level: 'info', text, remedy: 'Give --tls-cert and --tls-key, or use a proxy with https and --behind-proxy.' }];
}
