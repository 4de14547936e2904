/** Certificates for tests, created with openssl. */
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { CertificateFiles } from '../../src/settings.js';

export function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Creates a self-signed certificate. @param names "DNS:lab.example,IP:127.0.0.1" */
export function makeCertificate(folder: string, name: string, names: string, ...more: string[]): CertificateFiles {
  const files = { cert: path.join(folder, `${name}.pem`), key: path.join(folder, `${name}.key`) };
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const what = ['-x509', '-days', '2', '-subj', '/CN=a test', '-addext', `subjectAltName=${names}`];
  const secret = more.length > 0 ? more : ['-nodes'];
  execFileSync('openssl', ['req', ...kind, ...what, ...secret, '-keyout', files.key, '-out', files.cert], { stdio: 'ignore' });
  return files;
}
