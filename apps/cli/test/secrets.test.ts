import { expect, it } from 'vitest';
import { troupe } from './fixtures/shell.js';

it('passes secrets that are typed as flags on in the environment, and says that others can read them', async () => {
  const flags = ['--token=joins', '--admin-token=steers', '--volunteer-token=helps', '--metrics-token=scrapes'];
  const { stdout, stderr, exitCode } = troupe(['train', '--workers', '1', ...flags]);
  expect(await exitCode).toBe(0);
  expect(stdout.text).toContain('TROUPE_TOKEN=joins');
  const started = stdout.text.split('\n').filter((line) => line.includes(' argv '));
  expect(started.length).toBeGreaterThan(0);
  expect(started.join('\n')).not.toMatch(/joins|steers|helps|scrapes/);
  for (const variable of ['TROUPE_TOKEN', 'TROUPE_ADMIN_TOKEN', 'TROUPE_VOLUNTEER_TOKEN', 'TROUPE_METRICS_TOKEN'])
    expect(stderr.text).toContain(`Give it in the environment instead: ${variable}=SECRET`);
  expect(stderr.text).not.toMatch(/joins|steers|helps|scrapes/);
});

it('says nothing of secrets in the environment', async () => {
  const env = { TROUPE_TOKEN: 'joins', TROUPE_ADMIN_TOKEN: 'steers' };
  const { stderr, exitCode } = troupe(['train', '--workers', '1'], { env });
  expect(await exitCode).toBe(0);
  expect(stderr.text).toBe('');
});
