/** The links that contain the paths of a run. */
import type { IncomingMessage } from 'node:http';
import { shellAssignment } from '@troupe/config';
import { installationAt } from '@troupe/config/installation';
import { isLoopback } from '@troupe/process';
import { UNKNOWN_HOST } from '../server/addresses.js';
import type { MountPoint } from '../server/server.js';
import type { Tokens } from './auth.js';
import { PATHS } from './path-names.js';

/** Links for people. They contain the tokens of one run. */
export interface RunLinks {
  /** The links that the run prints when it starts. */
  printed(): PrintedLinks;
  /** The link by which a browser joins. It has the host name of the request. */
  joinLink(request: IncomingMessage): string;
}

export interface PrintedLinks {
  readonly address: string;
  readonly localAddress?: string;
  readonly joinCommand: string;
  readonly token: string;
  /** Only this machine can reach the coordinator. */
  readonly isLoopback: boolean;
  readonly dashboard: string;
  readonly volunteer: string;
}

export function createRunLinks(mount: MountPoint, { token, volunteerToken, adminToken }: Tokens): RunLinks {
  return {
    printed() {
      const { address, localAddress, here, outside } = mount.addresses();
      return {
        address: forWorkers(address, mount),
        joinCommand: joinCommand(forWorkers(outside.replace(/^http/, 'ws'), mount), token),
        dashboard: `${outside.includes(UNKNOWN_HOST) ? here : outside}/#admin=${encodeURIComponent(adminToken)}`,
        volunteer: joinLink(outside, volunteerToken),
        token,
        isLoopback: isLoopback(new URL(outside).hostname),
        ...(localAddress === undefined ? {} : { localAddress: forWorkers(localAddress, mount) }),
      };
    },
    joinLink: (request) => joinLink(mount.addressFor(request), volunteerToken),
  };
}

/**
 * For another machine, which has Troupe as this one has it: in a clone's folder, or installed. The token is in the environment, because everyone on
 * that machine can read arguments.
 */
function joinCommand(address: string, token: string): string {
  return `${shellAssignment('TROUPE_TOKEN', token)} ${installationAt(import.meta.url).program} worker ${address}`;
}

/** The token is in the fragment, which browsers do not send to servers. */
function joinLink(address: string, token: string): string {
  return `${address}${PATHS.join}#token=${encodeURIComponent(token)}`;
}

/** A worker adds the path to an address that has none. That is wrong for a run under a prefix, so the whole path is given. */
function forWorkers(address: string, { prefix }: MountPoint): string {
  return prefix === '' ? address : address + PATHS.control;
}
