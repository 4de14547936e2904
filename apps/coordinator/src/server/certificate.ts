/** The certificate of a coordinator, from two files that may be renewed while it runs. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { shellQuote } from '@troupe/config';
import { SettingsError, type CertificateFiles } from '../settings.js';

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  /** PEM, without a passphrase. */
  readonly key: string;
  /** The names and then the addresses that it was issued for, in lower case, without those with `*`. */
  readonly names: readonly string[];
  readonly expires: Date;
  /** Whether it is valid for a name or an address; `*` counts. */
  covers(name: string): boolean;
}

/** The contents of the two files. */
export type CertificateTexts = Pick<Certificate, 'cert' | 'key'>;

/** @throws SettingsError `no_certificate`, `bad_certificate`, `bad_key` or `key_mismatch` */
export async function readCertificate(files: CertificateFiles): Promise<Certificate> {
  return parseCertificate(files, await readTexts(files));
}

/** @throws SettingsError `no_certificate` */
export async function readTexts(files: CertificateFiles): Promise<CertificateTexts> {
  const [cert, key] = await Promise.all([readText('--tls-cert', files.cert), readText('--tls-key', files.key)]);
  return { cert, key };
}

async function readText(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new SettingsError(
      `${flag}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`,
      'Check the path, and that the user who runs the coordinator may read the file.',
      'no_certificate',
    );
  }
}

/** @throws SettingsError `bad_certificate`, `bad_key` or `key_mismatch` */
export function parseCertificate(files: CertificateFiles, { cert, key }: CertificateTexts): Certificate {
  const parsed = parse(cert, files.cert);
  if (!parsed.checkPrivateKey(parseKey(key, files.key))) {
    throw new SettingsError(
      `the key in ${files.key} does not belong to the certificate in ${files.cert}`,
      'Give the two files that were created together. The certificate must come first in its file, before intermediate certificates.',
      'key_mismatch',
    );
  }
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new SettingsError(
      `the certificate in ${files.cert} cannot be used: ${(error as Error).message}`,
      'Its key may be too short, or an intermediate certificate damaged. Create a new certificate.',
      'bad_certificate',
    );
  }
  return {
    cert,
    key,
    names: namesOf(parsed),
    expires: new Date(parsed.validTo),
    covers: (name) => (isIP(name) ? parsed.checkIP(name) : parsed.checkHost(name)) !== undefined,
  };
}

function parse(text: string, file: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch {
    throw new SettingsError(
      `${file} contains no certificate`,
      'Give --tls-cert a PEM file, which begins with -----BEGIN CERTIFICATE-----.',
      'bad_certificate',
    );
  }
}

function parseKey(text: string, file: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch {
    const encrypted = text.includes('ENCRYPTED');
    throw new SettingsError(
      encrypted ? `the key in ${file} is encrypted with a passphrase` : `${file} contains no private key`,
      encrypted
        ? `Remove the passphrase, for example with: (umask 077 && openssl pkey -in ${shellQuote(file)} -out ${shellQuote(`${file}.decrypted`)})`
        : 'Give --tls-key a PEM file, which begins with -----BEGIN PRIVATE KEY----- or a line like it.',
      'bad_key',
    );
  }
}

/** "DNS:lab.example, IP Address:10.0.0.1". */
function namesOf({ subjectAltName = '' }: X509Certificate): string[] {
  const of = (kind: string): string[] =>
    subjectAltName
      .split(', ')
      .filter((entry) => entry.startsWith(kind))
      .map((entry) => entry.slice(kind.length).toLowerCase());
  return [...of('DNS:').filter((name) => /^[^*"\s]+$/.test(name)), ...of('IP Address:')];
}
