/** STUN and TURN servers for the workers of a run. */
import { createHmac } from 'node:crypto';
import type { IceAccess } from '@troupe/config';
import type { MessageOf } from '@troupe/protocol';
import { turnCredentials } from '@troupe/transport/webrtc';

/** For one worker, with credentials of its own. @param nowMs Unix time, ms */
export function iceServersFor(
  { stun, turn, turnSecret }: IceAccess,
  user: string,
  nowMs: number,
): MessageOf<'iceServers'>['servers'] {
  const open = { username: '', credential: '' };
  return [
    ...(stun.length > 0 ? [{ urls: [...stun], ...open }] : []),
    ...(turn.length > 0 && turnSecret !== undefined
      ? [{ urls: [...turn], ...turnCredentials({ secret: turnSecret, user, nowMs }, hmacSha1) }]
      : []),
  ];
}

export function hmacSha1(key: string, text: string): string {
  return createHmac('sha1', key).update(text).digest('base64');
}
