/** Keeps the workers of one host going: connects, has the release installed, starts them, and connects again when the link is lost. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Shell } from '../shell.js';
import { Channel, type ChannelCommand, type ChannelEnd } from './channel.js';
import type { SlotState } from './events.js';
import type { Host } from './hosts.js';
import { compiled, inRelease, type ReleaseBytes } from './release-bytes.js';
import { reconnectMs } from './restarts.js';
import { platformOf } from './node-platforms.js';
import type { NodeProgram, NodeSource } from './node-source.js';
import {
  explainFault,
  explainSsh,
  receiveNodeCommand,
  remoteCommand,
  sshArguments,
  type HostTrouble,
  type SshSettings,
} from './ssh.js';
import { SlotNews, type Details, type NewsPorts } from './slot-news.js';
import { encode, WIRE, type FromHost, type ToHost } from './wire.js';

/** The module of a release that supervises. */
const ENTRY = inRelease('host-process');

export interface KeeperPorts extends NewsPorts {
  readonly shell: Pick<Shell, 'env' | 'random'>;
  readonly ssh: SshSettings;
  /** Packed at the first call, for all hosts. */
  readonly release: () => Promise<ReleaseBytes>;
  /** Everything that a host needs to start, but its slots. */
  readonly order: Omit<Extract<ToHost, { do: 'start' }>, 'do' | 'slots'>;
  /** For hosts that lack Node; undefined: they are told to install it. */
  readonly nodes: NodeSource | undefined;
  /** Resolves when a host may connect, with a function that lets the next one. @throws when the signal aborts */
  readonly turn: (signal: AbortSignal) => Promise<() => void>;
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

class HostKeeper {
  readonly #host: Host;
  readonly #ports: KeeperPorts;
  readonly #stop: AbortSignal;
  readonly #kill: AbortSignal;
  readonly #news: SlotNews;
  /** The present link has reached a supervisor. */
  #isUp = false;
  #fault: HostTrouble | undefined;
  /** What a host without a Node that can be used says of itself. */
  #lacksNode: string | undefined;
  #hasBrought = false;
  /** What is copied to a host that lacks it. */
  #release: Buffer = Buffer.alloc(0);

  constructor(host: Host, ports: KeeperPorts, stop: AbortSignal, kill: AbortSignal) {
    this.#host = host;
    this.#ports = ports;
    this.#news = new SlotNews(ports);
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
      this.#lacksNode = undefined;
      let end = await this.#connect((next) => this.#converse(next));
      if (this.#stop.aborted || this.#open().length === 0) return;
      const program = await this.#nodeToBring();
      if (program !== undefined) {
        this.#fault = undefined;
        end = await this.#connect((next) => this.#bring(program, next));
        if (this.#hasBrought) continue;
      }
      if (this.#stop.aborted) return;
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

  async #connect(talk: (connected: () => void) => Promise<ChannelEnd>): Promise<ChannelEnd> {
    this.report('waiting');
    const next = await this.#ports.turn(this.#stop);
    try {
      this.report('connecting');
      return await talk(next);
    } finally {
      next();
    }
  }

  async #converse(connected: () => void): Promise<ChannelEnd> {
    const channel: Channel = new Channel(this.#command(), (message) => {
      if (message.at === 'installed' || message.at === 'supervising' || message.at === 'failed') connected();
      this.#receive(channel, message);
    });
    return this.#attend(channel, async () => {
      // The release is packed while ssh connects.
      if (this.#host.destination !== undefined) await this.#introduce(channel);
    });
  }

  /** Waits for the end of a channel, which the end of the launch brings about. */
  async #attend(channel: Channel, begin: () => Promise<void>): Promise<ChannelEnd> {
    const stop = (): void => channel.stop();
    const kill = (): void => channel.close('ended at once');
    this.#stop.addEventListener('abort', stop, { once: true });
    this.#kill.addEventListener('abort', kill, { once: true });
    try {
      await begin();
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

  /** The Node for a host that lacks one, if there is one to bring. Sets the fault if there is none for its platform. */
  async #nodeToBring(): Promise<NodeProgram | undefined> {
    const { nodes } = this.#ports;
    const platform = platformOf(this.#lacksNode ?? '');
    if (nodes === undefined || platform === undefined || this.#hasBrought || this.#host.node !== undefined) return undefined;
    const program = await nodes.programFor(platform);
    if ('digest' in program) return program;
    this.#fault = { code: 'no_node', ...program, lasting: true };
    return undefined;
  }

  async #bring({ digest, version, archive }: NodeProgram, connected: () => void): Promise<ChannelEnd> {
    const command = this.#ssh(receiveNodeCommand(digest));
    const channel: Channel = new Channel(command, (message) => {
      connected();
      if (message.at === 'node_wanted') {
        this.report('copying', { text: `Node ${version}` });
        channel.writeLast(archive);
      }
      if (message.at === 'node_ready') this.#hasBrought = true;
      if (message.at === 'failed')
        this.#fault = explainFault(message.code, `${message.detail} on ${this.#lacksNode}`, this.#host);
    });
    return this.#attend(channel, () => Promise.resolve());
  }

  #command(): ChannelCommand {
    const { destination, node } = this.#host;
    const { TROUPE_TOKEN: _secret, ...env } = this.#ports.shell.env;
    if (destination === undefined) return { program: process.execPath, args: [compiled('host-process')], env };
    return this.#ssh(remoteCommand(node));
  }

  #ssh(command: string): ChannelCommand {
    const { TROUPE_TOKEN: _secret, ...env } = this.#ports.shell.env;
    const args = sshArguments(this.#ports.ssh, this.#host.destination!, command);
    // What ssh writes must be English to be understood.
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
      case 'node_wanted':
      case 'node_ready':
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
        if (message.code === 'no_node' || message.code === 'old_node') this.#lacksNode = message.detail.replace(/^.* on /, '');
        return;
      case 'supervising':
        return this.#start(channel, message.wire);
      default:
        return this.#news.receive(message);
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

  #open() {
    return this.#host.slots.filter(({ name }) => !this.#news.isOver(name));
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
