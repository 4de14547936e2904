/** Loads a renewed certificate without a restart, and warns before one expires. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SettingsError, type CertificateFiles } from '../settings.js';
import { parseCertificate, readTexts, type Certificate, type CertificateTexts } from './certificate.js';
import { expiryNote, type Note } from './notes.js';

/** Time between two reads of the files. */
const READ_EVERY_MS = 5_000;
const DAY_MS = 86_400_000;

/** The server that uses the certificate. */
export interface CertificateHolder {
  readonly certificate: Certificate | undefined;
  renew(certificate: Certificate): void;
}

export interface CertificateCare {
  readonly files: CertificateFiles;
  readonly holder: CertificateHolder;
  /** Aborts when the server ends. */
  readonly signal: AbortSignal;
  onNote(note: Note): void;
}

/** Renews the holder's certificate whenever its files change, and warns daily if it expires soon. Never rejects. */
export async function careForCertificate({ files, holder, signal, onNote }: CertificateCare): Promise<void> {
  if (!holder.certificate) return;
  const noteExpiry = (): void => {
    const note = holder.certificate && expiryNote(holder.certificate, Date.now());
    if (note) onNote(note);
  };
  const watching = watchCertificate(files, holder.certificate, {
    everyMs: READ_EVERY_MS,
    signal,
    onRenewed(certificate) {
      holder.renew(certificate);
      onNote({ level: 'info', text: `the certificate was renewed; it expires on ${certificate.expires.toISOString()}` });
      noteExpiry();
    },
    onBroken({ message, remedy }) {
      onNote({
        level: 'warn',
        text: `the certificate files have changed but cannot be used, so the previous certificate stays in use: ${message}`,
        remedy,
      });
    },
  });
  try {
    await Promise.all([watching, everyDay(noteExpiry, signal)]);
  } catch (error) {
    if (signal.aborted) return;
    onNote({ level: 'warn', text: `the certificate files are no longer watched: ${(error as Error).message}` });
  }
}

async function everyDay(act: () => void, signal: AbortSignal): Promise<never> {
  for (;;) {
    await sleep(DAY_MS, undefined, { signal, ref: false });
    act();
  }
}

export interface CertificateWatch {
  readonly everyMs: number;
  /** Ends the watch, which then rejects. */
  readonly signal: AbortSignal;
  onRenewed(certificate: Certificate): void;
  /** The files contain no usable certificate. Called once for each content. The certificate in use stays. */
  onBroken(error: SettingsError): void;
}

/**
 * Reads the files periodically. That is more reliable than file system events: it also notices a changed link and what another
 * machine wrote.
 */
export async function watchCertificate(files: CertificateFiles, first: Certificate, watch: CertificateWatch): Promise<never> {
  let inUse = signatureOf(first);
  let [suspect, reported] = ['', ''];
  for (;;) {
    await sleep(watch.everyMs, undefined, { signal: watch.signal, ref: false });
    const found = await readFound(files);
    if (found.signature === inUse) continue;
    if ('certificate' in found) {
      inUse = found.signature;
      watch.onRenewed(found.certificate);
    } else if (found.signature === suspect && found.signature !== reported) {
      reported = found.signature;
      watch.onBroken(found.error);
    }
    // It may be between the writing of the two files of a renewal, so it is reported only if the next read finds the same.
    suspect = found.signature;
  }
}

type Found = { readonly signature: string } & ({ readonly certificate: Certificate } | { readonly error: SettingsError });

async function readFound(files: CertificateFiles): Promise<Found> {
  let signature = 'unread';
  try {
    const texts = await readTexts(files);
    signature = signatureOf(texts);
    return { signature, certificate: parseCertificate(files, texts) };
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    return { signature, error };
  }
}

function signatureOf({ cert, key }: CertificateTexts): string {
  return `${cert}\n${key}`;
}
