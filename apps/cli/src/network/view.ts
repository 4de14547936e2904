/** The answer of `GET /api/network`, checked: it comes from outside. */
import { TOPOLOGIES } from '@troupe/config';
import { LIMITS } from '@troupe/protocol';
import type { IceServerView, NetworkView } from '@troupe/run';
import { placeOfIceUrl } from '@troupe/transport/webrtc-node';

/** Undefined: it is not such an answer. */
export function readNetworkView(value: unknown): NetworkView | undefined {
  const { protocolVersion, topology: name, reduceAddress, iceServers } = fieldsOf(value);
  const topology = TOPOLOGIES.find((each) => each === name);
  if (!Number.isSafeInteger(protocolVersion) || topology === undefined || !isText(reduceAddress)) return undefined;
  const view = { protocolVersion: protocolVersion as number, topology, reduceAddress };
  if (iceServers === undefined) return view;
  if (!Array.isArray(iceServers) || iceServers.length > LIMITS.iceServers || !iceServers.every(isIceServer)) return undefined;
  return { ...view, iceServers };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= LIMITS.addressLength;
}

function isIceServer(value: unknown): value is IceServerView {
  const { urls, username, credential } = fieldsOf(value);
  return isText(username) && isText(credential) && Array.isArray(urls) && urls.length <= LIMITS.iceUrls && urls.every(isIceUrl);
}

function isIceUrl(url: unknown): boolean {
  if (!isText(url)) return false;
  try {
    placeOfIceUrl(url);
    return true;
  } catch {
    // It is the address of no server.
    return false;
  }
}
