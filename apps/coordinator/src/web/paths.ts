/** Where everything of a run is, seen from its mount: the one table of these paths, but for those of the API. */
import type { IncomingMessage } from 'node:http';
import type { MountPoint } from '../server/server.js';
import type { Tokens } from './auth.js';

export const PATHS = {
  /** Links of workers. */
  control: '/control',
  /** The run's own all-reduce. */
  reduce: '/reduce',
  /** News for dashboards. */
  live: '/live',
  /** The page for volunteers. */
  join: '/join/',
} as const;

/** Links for people, which hold the tokens of one run. */
export interface RunLinks {
  /** What the run prints when it starts. */
  printed(): PrintedLinks;
  /** Where a browser joins, at the address by which the sender of the request reached us. */
  joinLink(request: IncomingMessage): string;
}

export interface PrintedLinks {
  readonly address: string;
  readonly localAddress?: string;
  readonly joinCommand: string;
  readonly dashboard: string;
  readonly volunteer: string;
}

export function createRunLinks(mount: MountPoint, { token, adminToken }: Tokens): RunLinks {
  return {
    printed() {
      const { address, localAddress, here, outside } = mount.addresses();
      return {
        address: forWorkers(address, mount),
        joinCommand: `npx troupe worker ${forWorkers(outside.replace(/^http/, 'ws'), mount)} --token ${token}`,
        dashboard: `${here}/#admin=${encodeURIComponent(adminToken)}`,
        volunteer: joinLink(outside, token),
        ...(localAddress === undefined ? {} : { localAddress: forWorkers(localAddress, mount) }),
      };
    },
    joinLink: (request) => joinLink(mount.addressFor(request), token),
  };
}

/** The token stands in the fragment, which browsers send to nobody. */
function joinLink(address: string, token: string): string {
  return `${address}${PATHS.join}#token=${encodeURIComponent(token)}`;
}

/** An address without a path means the run at the root to a worker; elsewhere the whole path is given. */
function forWorkers(address: string, { prefix }: MountPoint): string {
  return prefix === '' ? address : address + PATHS.control;
}
