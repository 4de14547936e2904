/** Keeps the workers of one host going: connects, has the release installed, starts them, and connects again when the link is lost. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Shell } from '../shell.js';
import { Channel, type ChannelCommand, type ChannelEnd } from './channel.js';
import type { LaunchEvent, SlotState } from './events.js';
import type { Host } from './hosts.js';
import { reconnectMs } from './restarts.js';
import { explainFault, explainSsh, remoteCommand, sshArguments, type HostTrouble, type SshSettings } from './ssh.js';
import { encode, WIRE, type FromHost, type ToHost, type WorkerEntry } from './wire.js';

/** The module of a release that supervises, and the place of the same module in this copy. */
const ENTRY = 'apps/cli/dist/launch/host-process.js';
const compiled = (name: string): string => fileURLToPath(new URL(`../../dist/launch/${name}.js`, import.meta.url));

/** In place of the remedies of a worker that a person has started: a launch has other flags. */
const LAUNCH_REMEDIES: Readonly<Record<string, string>> = {
  wrong_token: 'Start the launch again with the token that the coordinator prints, in TROUPE_TOKEN.',
};

/** A release in memory. */
export interface ReleaseBytes {
  readonly sha256: string;
  readonly bytes: Buffer;
}

export interface KeeperPorts {
  readonly shell: Pick<Shell, 'env' | 'random'>;
  readonly ssh: SshSettings;
  /** Packed at the first call, for all hosts. */
  readonly release: () => Promise<ReleaseBytes>;
  /** Everything that a host needs to start, but its slots. */
  readonly order: Omit<Extract<ToHost, { do: 'start' }>, 'do' | 'slots'>;
  /** Resolves when a host may connect, with a function that lets the next one. @throws when the signal aborts */
  readonly turn: (signal: AbortSignal) => Promise<() => void>;
  readonly emit: (event: LaunchEvent) => void;
  /** Every line that a worker logs. */
  readonly log: (slot: string, entry: WorkerEntry) => void;
}

/**
 * Resolves when no worker of the host is to start again, or `stop` has aborted and they have left. `kill` ends the channel at once.
 * Rejects only for a release that cannot be made.
 */
export async function keepHost(host: Host, ports: KeeperPorts, stop: AbortSignal, kill: AbortSignal): Promise<void> {
  const keeper = new HostKeeper(host, ports, stop, kill);
  try {
    await keeper.run();
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  if (stop.aborted) keeper.report('stopped');
}

/** What a state event tells beside the state. */
interface Details {
  readonly text?: string | undefined;
  readonly remedy?: string | undefined;
  readonly retryInMs?: number | undefined;
}

class HostKeeper {
  readonly #host: Host;
  readonly #ports: KeeperPorts;
  readonly #stop: AbortSignal;
  readonly #kill: AbortSignal;
  /** Slots that do not start again. */
  readonly #over = new Set<string>();
  /** The present link has reached a supervisor. */
  #isUp = false;
  #fault: HostTrouble | undefined;
  /** What is copied to a host that lacks it. */
  #release: Buffer = Buffer.alloc(0);

  constructor(host: Host, ports: KeeperPorts, stop: AbortSignal, kill: AbortSignal) {
    this.#host = host;
    this.#ports = ports;
    this.#stop = stop;
    this.#kill = kill;
  }

  /** The state of all slots that are not over. */
  report(state: SlotState, more: Details = {}): void {
    const slots = this.#open().map(({ name }) => name);
    if (slots.length > 0) this.#ports.emit({ event: 'state', who: this.#host.label, slots, state, ...more });
  }

  async run(): Promise<void> {
    let [failures, hasBeenUp] = [0, false];
    for (;;) {
      this.#fault = undefined;
      this.#isUp = false;
      const end = await this.#connect();
      if (this.#stop.aborted || this.#open().length === 0) return;
      failures = this.#isUp ? 1 : failures + 1;
      hasBeenUp ||= this.#isUp;
      const { why, remedy, lasting } = this.#fault ?? this.#explain(end);
      // What is wrong with a host that has had workers may pass.
      if (lasting && !hasBeenUp) return this.report('failed', { text: why, remedy });
      const retryInMs = reconnectMs(failures, this.#ports.shell.random());
      this.report('waiting', { text: why, remedy, retryInMs });
      await sleep(retryInMs, undefined, { signal: this.#stop });
    }
  }

  async #connect(): Promise<ChannelEnd> {
    this.report('waiting');
    const next = await this.#ports.turn(this.#stop);
    try {
      this.report('connecting');
      return await this.#converse(next);
    } finally {
      next();
    }
  }

  async #converse(connected: () => void): Promise<ChannelEnd> {
    const channel: Channel = new Channel(this.#command(), (message) => {
      if (message.at === 'installed' || message.at === 'supervising' || message.at === 'failed') connected();
      this.#receive(channel, message);
    });
    const stop = (): void => channel.stop();
    const kill = (): void => channel.close('ended at once');
    this.#stop.addEventListener('abort', stop, { once: true });
    this.#kill.addEventListener('abort', kill, { once: true });
    try {
      // The release is packed while ssh connects.
      if (this.#host.destination !== undefined) await this.#introduce(channel);
      return await channel.ended;
    } catch (error) {
      channel.close('there is no release');
      await channel.ended;
      throw error;
    } finally {
      this.#stop.removeEventListener('abort', stop);
      this.#kill.removeEventListener('abort', kill);
    }
  }

  #command(): ChannelCommand {
    const { destination, node } = this.#host;
    const { TROUPE_TOKEN: _secret, ...env } = this.#ports.shell.env;
    if (destination === undefined) return { program: process.execPath, args: [compiled('host-process')], env };
    // What ssh writes must be English to be understood.
    const args = sshArguments(this.#ports.ssh, destination, remoteCommand(node));
    return { program: this.#ports.ssh.program, args, env: { ...env, LC_ALL: 'C' } };
  }

  /** Sends the installer, and what it needs to know. */
  async #introduce(channel: Channel): Promise<void> {
    const { sha256, bytes } = await this.#ports.release();
    this.#release = bytes;
    channel.write(`${readFileSync(compiled('installer')).toString('base64')}\n`);
    channel.write(encode({ sha256, bytes: bytes.length, entry: ENTRY }));
  }

  #receive(channel: Channel, message: FromHost): void {
    switch (message.at) {
      case 'host':
      case 'beat':
      case 'installed':
        return;
      case 'wanted':
        this.report('copying');
        return channel.write(this.#release);
      case 'installing':
        return this.report('installing');
      case 'failed':
        this.#fault = explainFault(message.code, message.detail, this.#host);
        return;
      case 'supervising':
        return this.#start(channel, message.wire);
      default:
        return this.#follow(message);
    }
  }

  #start(channel: Channel, wire: number): void {
    if (wire !== WIRE) {
      this.#fault = explainFault('other_release', '', this.#host);
      return channel.close('another release');
    }
    this.#isUp = true;
    channel.send({ do: 'start', ...this.#ports.order, slots: this.#open() });
  }

  #follow(message: Extract<FromHost, { slot: string }>): void {
    const { slot } = message;
    const { emit, log } = this.#ports;
    const report = (state: SlotState, more: Details): void => emit({ event: 'state', who: slot, slots: [slot], state, ...more });
    switch (message.at) {
      case 'starting':
        return report('starting', { text: `${message.threads} ${message.threads === 1 ? 'thread' : 'threads'}` });
      case 'log':
        log(slot, message.entry);
        return this.#progress(slot, message.entry, report);
      case 'error':
        return log(slot, { kind: 'stderr', reason: message.line });
      case 'held': {
        this.#over.add(slot);
        const text = `another launch has this worker for the same coordinator: ${message.by}`;
        return report('failed', { text, remedy: 'Stop that launch first, or leave this host out.' });
      }
      case 'ended': {
        const { next, how, why, code, retryInMs } = message;
        const remedy = LAUNCH_REMEDIES[code ?? ''] ?? message.remedy;
        log(slot, { kind: 'ended', reason: [how, why].filter(Boolean).join('\n') });
        if (next !== 'restarts') this.#over.add(slot);
        if (next === 'done') return report('done', {});
        if (next === 'failed' && remedy !== undefined) return report('failed', { text: why, remedy });
        const text = `it ended (${how})${why === '' ? '' : `: ${why}`}`;
        return report(next === 'failed' ? 'failed' : 'restarting', { text, ...(retryInMs > 0 ? { retryInMs } : {}) });
      }
      default:
        return message satisfies never;
    }
  }

  #progress(slot: string, entry: WorkerEntry, report: (state: SlotState, more: Details) => void): void {
    if (entry.kind === 'ready') return report('running', { text: `${entry.engine ?? ''}` });
    if (entry.kind === 'lost') return report('waiting', { text: entry.reason, remedy: entry.remedy });
    if (entry.kind === 'parked') return report('running', { text: `parked: ${entry.reason ?? ''}` });
    if (entry.kind !== 'computed') return;
    const { round = 0, credit = 0 } = entry;
    this.#ports.emit({ event: 'progress', slot, round, credit });
  }

  #open() {
    return this.#host.slots.filter(({ name }) => !this.#over.has(name));
  }

  #explain({ notStarted, errors, closedFor }: ChannelEnd): HostTrouble {
    const { destination } = this.#host;
    if (notStarted !== undefined) {
      const remedy = 'Install it (apt install openssh-client), or name its program with --ssh PROGRAM.';
      return { code: 'no_ssh', why: `ssh cannot be started: ${notStarted.message}`, remedy, lasting: true };
    }
    if (closedFor !== undefined) return { code: 'silent', why: closedFor, remedy: 'It is tried again.', lasting: false };
    if (destination !== undefined) return explainSsh(errors, this.#host, destination, this.#ports.ssh);
    const why = `the supervisor of this machine ended: ${errors.at(-1) ?? 'it says nothing'}`;
    return { code: 'link_lost', why, remedy: 'It is started again.', lasting: false };
  }
}
