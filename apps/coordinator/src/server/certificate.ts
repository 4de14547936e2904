/** The certificate that a coordinator shows, from two files that may be renewed while it runs. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import { SettingsError, type CertificateFiles } from '../settings.js';

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  /** PEM, without a passphrase. */
  readonly key: string;
  /** That it was given out for, in lower case, without those with `*`. Names first, then addresses. */
  readonly names: readonly string[];
  readonly expires: Date;
  /** Whether it is good for a name or an address; `*` counts. */
  covers(name: string): boolean;
}

/** What is in the two files. */
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
      'Check the path, and that whoever runs the coordinator may read the file.',
      'no_certificate',
    );
  }
}

/** @throws SettingsError `bad_certificate`, `bad_key` or `key_mismatch` */
export function parseCertificate(files: CertificateFiles, { cert, key }: CertificateTexts): Certificate {
  const parsed = parse(cert, files.cert);
  if (!parsed.checkPrivateKey(parseKey(key, files.key))) {
    throw new SettingsError(
      `the key in ${files.key} is not that of the certificate in ${files.cert}`,
      'Give the two files that were made together; in the file of the certificate its own must come first.',
      'key_mismatch',
    );
  }
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    throw new SettingsError(
      `the certificate in ${files.cert} is of no use: ${(error as Error).message}`,
      'It may be too weak, or what follows it in the file damaged: make a new one.',
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
      `${file} holds no certificate`,
      'Give --tls-cert a PEM file: it begins with -----BEGIN CERTIFICATE-----.',
      'bad_certificate',
    );
  }
}

function parseKey(text: string, file: string): KeyObject {
  try {
    return createPrivateKey(text);
  } catch {
    const locked = text.includes('ENCRYPTED');
    throw new SettingsError(
      locked ? `the key in ${file} is locked with a passphrase` : `${file} holds no private key`,
      locked
        ? `Take the passphrase off: openssl pkey -in ${file} -out FILE. Let nobody else read that file.`
        : 'Give --tls-key a PEM file: it begins with -----BEGIN PRIVATE KEY-----, or with the kind of key before PRIVATE.',
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
