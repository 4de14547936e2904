/**
 * What a launcher and a host say to each other over the standard streams of one ssh channel: one JSON object a line. The end of the
 * channel ends the workers.
 */
import type { Slot } from './hosts.js';

/** Lines of a host that count begin with this: the shell of a user may print anything before them. */
export const MARK = 'troupe:';
/** Changes with these messages. A release of another version may be on the other side. */
export const WIRE = 2;
/** Each side sends something this often ... */
export const BEAT_MS = 5_000;
/** ... and takes the other for lost after this much silence. */
export const SILENCE_MS = 30_000;

export type HostFault =
  | 'no_node'
  | 'old_node'
  | 'bad_node'
  | 'disk_full'
  | 'no_permission'
  | 'no_tar'
  | 'bad_copy'
  | 'cannot_install'
  | 'other_release';

export type FromHost =
  | { readonly at: 'host'; readonly platform: string; readonly arch: string; readonly node: string; readonly name?: string }
  /** To a shell that is to receive Node: its tarball is wanted; it is in place. */
  | { readonly at: 'node_wanted' | 'node_ready' }
  /** The release is not installed: its bytes are wanted. */
  | { readonly at: 'wanted' }
  /** They have arrived. The native engine is compiled, if there is a compiler. */
  | { readonly at: 'installing' }
  /** `module`: the one to run. */
  | { readonly at: 'installed'; readonly module: string }
  /** `detail`: what the system says, or the version that was found. */
  | { readonly at: 'failed'; readonly code: HostFault; readonly detail: string }
  | { readonly at: 'supervising'; readonly wire: number }
  | { readonly at: 'beat' }
  /** A live launch has a worker of this name for the same coordinator. */
  | { readonly at: 'held'; readonly slot: string; readonly by: string }
  | { readonly at: 'starting'; readonly slot: string; readonly threads: number }
  /** A line of the worker's log, as JSON. Of the leases that it computes, one a second. */
  | { readonly at: 'log'; readonly slot: string; readonly entry: WorkerEntry }
  | { readonly at: 'error'; readonly slot: string; readonly line: string }
  | {
      readonly at: 'ended';
      readonly slot: string;
      readonly how: string;
      readonly next: 'done' | 'failed' | 'restarts';
      /** What it says itself, or why it is not restarted and the last lines of its standard error. */
      readonly why: string;
      /** What the worker says that helps, and the code of its failure. */
      readonly remedy?: string | undefined;
      readonly code?: string | undefined;
      readonly retryInMs: number;
    };

/** Of the log of a worker, the fields that the launcher reads. */
export interface WorkerEntry {
  readonly kind: string;
  /** Of `stopped`: why the coordinator let the worker go. Of `failed`: what the worker ends with. */
  readonly code?: string;
  readonly round?: number;
  readonly credit?: number;
  readonly engine?: string;
  readonly charsPerSecond?: number;
  readonly reason?: string;
  readonly remedy?: string;
}

export type ToHost =
  | {
      readonly do: 'start';
      /** Reaches workers in their environment only. */
      readonly token: string;
      readonly address: string;
      /** A secret name of this launch. Who knows it may take over the slots of an earlier link. */
      readonly launch: string;
      /** "troupe launch on HOST, process PID", for other launches. */
      readonly by: string;
      readonly slots: readonly Slot[];
    }
  | { readonly do: 'beat' }
  | { readonly do: 'stop' };

/** What a host needs to know to install a release. */
export interface InstallPlan {
  readonly sha256: string;
  readonly bytes: number;
  /** The module of the release that supervises, relative to its folder. */
  readonly entry: string;
  /** The folder of all releases, in place of the one in the user's cache. */
  readonly cache?: string;
  /** Installs, and runs nothing. */
  readonly only?: boolean;
}

export function encode(message: ToHost | InstallPlan): string {
  return `${JSON.stringify(message)}\n`;
}

/** What the shell of a host can find wrong before there is a Node. */
const SHELL_FAULTS: ReadonlySet<string> = new Set<HostFault>([
  'no_node',
  'old_node',
  'bad_node',
  'bad_copy',
  'no_tar',
  'no_permission',
  'disk_full',
  'cannot_install',
]);

/** The message in a line of a host; undefined for any other line. */
export function decode(line: string): FromHost | undefined {
  const at = line.indexOf(MARK);
  if (at < 0) return undefined;
  const text = line.slice(at + MARK.length);
  // A shell has no JSON.
  const [, word, detail] = /^([a-z]+_[a-z]+)\b ?(.*)$/.exec(text) ?? [];
  if (word === 'node_wanted' || word === 'node_ready') return { at: word };
  if (word !== undefined && SHELL_FAULTS.has(word)) return { at: 'failed', code: word as HostFault, detail };
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && 'at' in value ? (value as FromHost) : undefined;
  } catch {
    // A line of somebody else that looks alike.
    return undefined;
  }
}
