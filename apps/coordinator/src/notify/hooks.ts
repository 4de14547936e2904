/** What each kind of receiver is sent, so that people read a sentence and not JSON. */
import { brief } from '@troupe/protocol';
import type { Notice, NoticeKind } from './notices.js';

/** One POST. */
export interface HookRequest {
  readonly url: URL;
  /** JSON. */
  readonly body: string;
}

/** `json`: the notice itself, of which chats such as Mattermost show `text`. */
export type HookKind = 'ntfy' | 'slack' | 'discord' | 'json';

/** Names a server of ntfy other than ntfy.sh: "ntfy+https://push.example.org/my-runs". */
const NTFY_START = /^ntfy\+/;
const DISCORD_HOSTS: readonly string[] = ['discord.com', 'discordapp.com'];
/** Characters that Discord takes in a message. */
const DISCORD_CHARACTERS = 2_000;

/** ntfy's priorities: 1 (min) to 5 (max); its names of emoji. */
const URGENCY: Readonly<Record<NoticeKind, { readonly priority: number; readonly tag: string }>> = {
  started: { priority: 2, tag: 'arrow_forward' },
  finished: { priority: 3, tag: 'white_check_mark' },
  waiting: { priority: 4, tag: 'hourglass_flowing_sand' },
  problem: { priority: 4, tag: 'warning' },
  diverged: { priority: 5, tag: 'rotating_light' },
  failed: { priority: 5, tag: 'rotating_light' },
};

/** Whether notices can be sent to an address. ntfy needs a topic: the one part of its path. */
export function isHook(url: URL): boolean {
  if (!/^(ntfy\+)?https?:$/.test(url.protocol)) return false;
  return !NTFY_START.test(url.protocol) || topicOf(url) !== undefined;
}

export function hookKindOf(url: URL): HookKind {
  const { protocol, hostname, pathname } = url;
  if (NTFY_START.test(protocol) || (hostname === 'ntfy.sh' && topicOf(url) !== undefined)) return 'ntfy';
  if (hostname === 'hooks.slack.com') return 'slack';
  // An address of Discord that ends in /slack takes what Slack takes.
  if (DISCORD_HOSTS.includes(hostname) && pathname.startsWith('/api/')) return pathname.endsWith('/slack') ? 'slack' : 'discord';
  return 'json';
}

export function hookRequest(url: URL, notice: Notice): HookRequest {
  const kind = hookKindOf(url);
  switch (kind) {
    case 'ntfy':
      return ntfyRequest(url, notice);
    case 'slack':
      return { url, body: JSON.stringify({ text: slackText(notice.text) }) };
    case 'discord':
      // The names of runs and texts mention nobody.
      return { url, body: JSON.stringify({ content: brief(notice.text, DISCORD_CHARACTERS), allowed_mentions: { parse: [] } }) };
    case 'json':
      return { url, body: JSON.stringify(notice) };
    default:
      return kind satisfies never;
  }
}

/** ntfy takes JSON at its root, where the topic is a field. Headers could not hold every title. */
function ntfyRequest(url: URL, { event, run, text }: Notice): HookRequest {
  const root = new URL(url.href.replace(NTFY_START, ''));
  root.pathname = '/';
  const { priority, tag } = URGENCY[event];
  const message = text.startsWith(`${run}: `) ? text.slice(run.length + 2) : text;
  return { url: root, body: JSON.stringify({ topic: topicOf(url), title: run, message, priority, tags: [tag] }) };
}

function topicOf({ pathname }: URL): string | undefined {
  return /^\/([\w-]{1,64})\/?$/.exec(pathname)?.[1];
}

/** Slack gives these characters a meaning. */
function slackText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
