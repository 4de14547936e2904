import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readCertificate, type Certificate } from '../../src/server/certificate.js';
import { watchCertificate } from '../../src/server/certificate-watch.js';
import type { CertificateFiles, SettingsError } from '../../src/settings.js';
import { hasOpenssl, makeCertificate } from './certificates.js';
import { scratch } from '../running.js';

let folder = '';
let lab: CertificateFiles;
let other: CertificateFiles;
const able = hasOpenssl();
if (!able) it.skip('certificates: SKIPPED, there is no openssl to make them: apt install openssl', () => undefined);

beforeAll(async () => {
  folder = await scratch();
  if (!able) return;
  lab = makeCertificate(folder, 'lab', 'DNS:Lab.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1');
  other = makeCertificate(folder, 'other', 'DNS:other.example');
});
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

const refused = (code: string, remedy: RegExp) =>
  expect.objectContaining({ name: 'SettingsError', code, remedy: expect.stringMatching(remedy) });

describe.skipIf(!able)('a certificate', () => {
  it('has its names and its expiry', async () => {
    const { names, covers, expires } = await readCertificate(lab);
    expect(names.slice(0, 2)).toEqual(['lab.example', '127.0.0.1']);
    expect(['lab.example', 'x.wild.example', '127.0.0.1', '::1'].every(covers)).toBe(true);
    expect(['evil.example', 'wild.example', '127.0.0.2'].some(covers)).toBe(false);
    expect(expires.getTime()).toBeGreaterThan(Date.now());
  });

  it('is refused with a code and a remedy if its files are missing, unusable or not a pair', async () => {
    const text = path.join(folder, 'text');
    await fs.writeFile(text, 'no certificate');
    await expect(readCertificate({ ...lab, cert: path.join(folder, 'nowhere') })).rejects.toThrow(
      refused('no_certificate', /path/),
    );
    await expect(readCertificate({ ...lab, key: folder })).rejects.toThrow(refused('no_certificate', /path/));
    await expect(readCertificate({ ...lab, cert: text })).rejects.toThrow(refused('bad_certificate', /BEGIN CERTIFICATE/));
    await expect(readCertificate({ ...lab, cert: lab.key })).rejects.toThrow(refused('bad_certificate', /BEGIN CERTIFICATE/));
    await expect(readCertificate({ ...lab, key: text })).rejects.toThrow(refused('bad_key', /PRIVATE KEY/));
    await expect(readCertificate({ ...lab, key: other.key })).rejects.toThrow(refused('key_mismatch', /created together/));
    const locked = makeCertificate(folder, 'locked', 'DNS:lab.example', '-passout', 'pass:secret');
    await expect(readCertificate(locked)).rejects.toThrow(refused('bad_key', /Remove the passphrase/));
  });

  it('is loaded when it is renewed; while the files are not a pair, the previous one stays and that is reported once', async () => {
    const files = { cert: path.join(folder, 'live.pem'), key: path.join(folder, 'live.key') };
    await fs.copyFile(lab.cert, files.cert);
    await fs.copyFile(lab.key, files.key);
    // A copy over the file could be read half written.
    const putInPlace = async (from: string, to: string): Promise<void> => {
      await fs.copyFile(from, `${to}.new`);
      await fs.rename(`${to}.new`, to);
    };
    const renewed: Certificate[] = [];
    const broken: SettingsError[] = [];
    const stop = new AbortController();
    const watching = watchCertificate(files, await readCertificate(files), {
      everyMs: 5,
      signal: stop.signal,
      onRenewed: (certificate) => renewed.push(certificate),
      onBroken: (error) => broken.push(error),
    });
    await putInPlace(other.cert, files.cert);
    while (broken.length === 0) await delay(5);
    await delay(50);
    expect(broken.map(({ code }) => code)).toEqual(['key_mismatch']);
    expect(renewed).toEqual([]);
    await putInPlace(other.key, files.key);
    while (renewed.length === 0) await delay(5);
    expect(renewed[0].names).toEqual(['other.example']);
    await fs.rm(files.cert);
    while (broken.length === 1) await delay(5);
    expect(broken[1].code).toBe('no_certificate');
    stop.abort(new Error('test over'));
    await expect(watching).rejects.toThrow();
    expect([renewed.length, broken.length]).toEqual([1, 2]);
  });
});
