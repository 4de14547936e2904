/** Local servers that check what each service documents, and a coordinator's sender that posts to them. */
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hookKindOf, hookRequest, isHook } from '../../src/notify/hooks.js';
import type { Notice } from '../../src/notify/notices.js';
import { createSender } from '../../src/notify/sender.js';

const notice = (more: Partial<Notice> = {}): Notice => ({
  ...{ event: 'diverged', run: 'Sonette für Zoë', runId: 'r1', round: 7, rounds: 9, at: 0 },
  text: 'Sonette für Zoë: The loss is > 5 & grows.',
  ...more,
});
const bodyFor = (address: string, sent = notice()): unknown => JSON.parse(hookRequest(new URL(address), sent).body);

describe('the receiver of notices', () => {
  it.each([
    ['https://ntfy.sh/my-runs', 'ntfy'],
    ['https://ntfy.sh/', 'json'],
    ['ntfy+http://push.lab:8080/my_runs', 'ntfy'],
    ['https://push.lab/my-runs', 'json'],
    ['https://hooks.slack.com/services/T/B/x', 'slack'],
    ['https://discord.com/api/webhooks/1/x', 'discord'],
    ['https://discord.com/api/webhooks/1/x/slack', 'slack'],
    ['https://chat.lab/hooks/x', 'json'],
    ['https://discord.com.evil.example/api/webhooks/1/x', 'json'],
  ])('%s is taken for %s', (address, kind) => {
    expect(hookKindOf(new URL(address))).toBe(kind);
    expect(isHook(new URL(address))).toBe(true);
  });

  it.each(['ntfy+https://push.lab/', 'ntfy+https://push.lab/a/b', 'ntfy+ftp://push.lab/a', 'ftp://push.lab/a'])(
    '%s is none',
    (address) => expect(isHook(new URL(address))).toBe(false),
  );

  it('of Slack gets a text in which nothing has a meaning', () => {
    expect(bodyFor('https://hooks.slack.com/services/T/B/x')).toEqual({
      text: 'Sonette für Zoë: The loss is &gt; 5 &amp; grows.',
    });
  });

  it('of Discord gets at most 2,000 characters, which mention nobody', () => {
    const long = notice({ text: `@everyone ${'x'.repeat(3_000)}` });
    const { content, ...rest } = bodyFor('https://discord.com/api/webhooks/1/x', long) as { content: string };
    expect(content).toMatch(/^@everyone x+/);
    expect(content.length).toBeLessThanOrEqual(2_000);
    expect(rest).toEqual({ allowed_mentions: { parse: [] } });
  });

  it('gets the notice itself if it is unknown', () => {
    expect(bodyFor('https://chat.lab/hooks/x')).toEqual(notice());
  });
});

describe('a server of ntfy', () => {
  /** What it would show. */
  let shown: unknown[];
  let server: http.Server;
  beforeEach(async () => {
    shown = [];
    server = http.createServer((request, response) => {
      void request.toArray().then((chunks) => {
        const text = Buffer.concat(chunks as Buffer[]).toString();
        const { pathname, searchParams } = new URL(request.url!, 'http://ntfy');
        const isAllowed = searchParams.get('auth') === 'QmVhcmVy';
        response.writeHead(isAllowed ? 200 : 403).end();
        if (!isAllowed) return;
        // A message at a topic is shown as it is; only at the root it is read as JSON.
        shown.push(pathname === '/' ? JSON.parse(text) : { topic: pathname.slice(1), message: text });
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));

  it('shows a title, a sentence, a priority and an emoji, also behind an access token', async () => {
    const { port } = server.address() as AddressInfo;
    const notes: string[] = [];
    const sender = createSender({
      url: new URL(`ntfy+http://127.0.0.1:${port}/my-runs?auth=QmVhcmVy`),
      ...{ fetch, nowMs: () => performance.now(), onFailed: (text: string) => notes.push(text) },
      sleep: (ms, signal) => delay(ms, undefined, { signal }),
    });
    sender.post(notice());
    sender.post(notice({ event: 'finished', text: 'Sonette für Zoë: The run is complete.' }));
    await sender.close(5_000);
    expect(notes).toEqual([]);
    const common = { topic: 'my-runs', title: 'Sonette für Zoë' };
    expect(shown).toEqual([
      { ...common, message: 'The loss is > 5 & grows.', priority: 5, tags: ['rotating_light'] },
      { ...common, message: 'The run is complete.', priority: 3, tags: ['white_check_mark'] },
    ]);
  });
});
