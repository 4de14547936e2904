/** A worker that sums a part of the parameters for the others: it listens for their links, or answers those over WebRTC. */
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { createListeningService, listenGuarded, newSecret, serveConnections, type GuardedPort } from '@troupe/collective/node';
import { createPeer, RTC_ADDRESS, type ServiceNote, type StarPeer } from '@troupe/collective/star';
import { placesOfThisProcess } from '@troupe/process';
import { LIMITS } from '@troupe/protocol';
import { TransportError, type Listener } from '@troupe/transport';
import type { RtcLinks } from '@troupe/transport/webrtc';

export interface Listen {
  /** Address of this machine; undefined: all of them. */
  readonly host: string | undefined;
  /** 0 = any free one. */
  readonly port: number;
  /** PEM files. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface PeerOptions {
  /** Where it listens for WebSockets; absent: nowhere. */
  readonly listen?: Listen | undefined;
  /** Answers links over WebRTC; absent: none are answered. */
  readonly rtc?: RtcLinks | undefined;
  /** Receives warnings about the links of other workers. */
  readonly log: (note: ServiceNote) => void;
  readonly signal: AbortSignal;
}

/**
 * Can be reached until `signal` aborts. Only workers that the all-reduce service has introduced are let in.
 * @throws TransportError when it cannot listen
 */
export async function openPeer({ listen, rtc, log, signal }: PeerOptions): Promise<StarPeer> {
  const { listener, doors } = (listen && (await open(listen))) ?? {};
  // Nobody knows its token: this service decides nothing.
  const service = createListeningService({ token: newSecret(), warn: log, ...(rtc && { rtc }), ...doors });
  if (listener) {
    void serveConnections(listener, service, signal)
      .catch(({ message }: Error) => log({ level: 'warn', text: `other workers can no longer reach this one: ${message}` }))
      .finally(() => void listener.close('the worker is stopping'));
  }
  const addresses = [...(listen && listener ? [addressOf(listen, listener)] : []), ...(rtc ? [RTC_ADDRESS] : [])];
  return createPeer({ addresses, service, warn: log, signal });
}

/** Without a host: the others know under which address this machine is reached. */
function addressOf({ host, tls }: Listen, { address }: Listener): string {
  const port = /:(\d+)(?:\/.*)?$/.exec(address)![1];
  const scheme = tls ? 'wss' : 'ws';
  if (host !== undefined && !['0.0.0.0', '::', '[::]'].includes(host)) return `${scheme}://${host}:${port}`;
  return tls ? `wss://:${port}` : `:${port}`;
}

/**
 * Without a host, on all addresses: those of IPv6 as well, where the machine has them. So does a host that is no address of this machine:
 * others may reach it by one of a router, or of the machine that a container runs on.
 */
async function open({ host, port, tls }: Listen): Promise<GuardedPort> {
  const certificate = tls && readCertificate(tls);
  for (const each of [...(host === undefined ? [] : [host]), '::']) {
    try {
      return await openAt(each, port, certificate);
    } catch (error) {
      if (!(error instanceof TransportError && error.code === 'invalid_address')) throw error;
    }
  }
  return openAt('0.0.0.0', port, certificate);
}

interface Certificate {
  readonly cert: Buffer;
  readonly key: Buffer;
}

async function openAt(host: string, port: number, certificate: Certificate | undefined): Promise<GuardedPort> {
  try {
    return await listenGuarded({ host, port, certificate, places: placesOfThisProcess(LIMITS.workers) });
  } catch (error) {
    if (!(error instanceof TransportError)) throw error;
    const { code, message, remedy } = error;
    throw new TransportError(code, message, remedy.replace('--port', '--listen'), { cause: error });
  }
}

/** @throws TransportError `invalid_address` when the files cannot be read, or are no certificate and its key */
function readCertificate({ cert, key }: NonNullable<Listen['tls']>): Certificate {
  try {
    const certificate = { cert: readFileSync(cert), key: readFileSync(key) };
    createSecureContext(certificate);
    return certificate;
  } catch (cause) {
    const message = `the certificate for --listen cannot be used: ${(cause as Error).message}`;
    const remedy = 'Check --tls-cert and --tls-key: two PEM files that belong together, which this user can read.';
    throw new TransportError('invalid_address', message, remedy, { cause });
  }
}
