import { describe, expect, it } from 'vitest';
import { expiryNote, securityNotes, type Exposure } from '../../src/server/notes.js';

const NOW = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;
const expiresIn = (days: number) => ({ expires: new Date(NOW + days * DAY_MS) });

describe('the expiry of a certificate', () => {
  it('is noted a week before, with a remedy', () => {
    expect(expiryNote(expiresIn(8), NOW)).toBeUndefined();
    expect(expiryNote(expiresIn(6), NOW)).toMatchObject({
      level: 'warn',
      text: 'the certificate expires on 2026-01-07T00:00:00.000Z',
      remedy: expect.stringMatching(/Renew/),
    });
    expect(expiryNote(expiresIn(-1), NOW)?.text).toBe('the certificate has expired on 2025-12-31T00:00:00.000Z');
  });
});

describe('notes on security', () => {
  const local: Exposure = { host: '127.0.0.1', behindProxy: false, allowedHosts: [], certificate: undefined };
  const notes = (exposure: Partial<Exposure>): string[] =>
    securityNotes({ ...local, ...exposure }, NOW).map(({ text, remedy }) => `${text}: ${remedy}`);

  it('are not needed for this machine alone, for https, and for a proxy with a known name', () => {
    expect(notes({})).toEqual([]);
    expect(notes({ host: '0.0.0.0', certificate: expiresIn(90) })).toEqual([]);
    expect(notes({ behindProxy: true, allowedHosts: ['lab.example'] })).toEqual([]);
  });

  it('say what browsers lack without https', () => {
    expect(notes({ host: '0.0.0.0' })).toEqual([expect.stringMatching(/one core.*--tls-cert.*--behind-proxy/)]);
  });

  it('say if no other machine can use the certificate', () => {
    expect(notes({ certificate: expiresIn(90) })).toEqual([expect.stringMatching(/--host 0\.0\.0\.0/)]);
  });

  it('say if the name of the proxy is missing, and if clients can bypass it', () => {
    expect(notes({ behindProxy: true, allowedHosts: ['*'] })).toEqual([expect.stringMatching(/--allow-host NAME/)]);
    expect(notes({ behindProxy: true, allowedHosts: ['lab.example'], host: '0.0.0.0' })).toEqual([
      expect.stringMatching(/--host 127\.0\.0\.1/),
    ]);
  });

  it('begin with the expiry of the certificate', () => {
    expect(notes({ certificate: expiresIn(1) })[0]).toMatch(/expires/);
  });
});
