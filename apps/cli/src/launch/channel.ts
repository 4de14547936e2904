/** One channel to a host: the ssh process (or, for this machine, the supervisor itself) and what both sides say through it. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { BEAT_MS, decode, encode, SILENCE_MS, type FromHost, type ToHost } from './wire.js';

/** Lines of standard error to keep: they say why ssh has failed. */
const TAIL_LINES = 24;
/** Time for the rest of the output after the process has ended; something that it has started may keep it open. */
const REST_MS = 1_000;
/** Time for a host to begin to answer: ssh itself gives up sooner, unless a ProxyCommand hangs. */
const ANSWER_MS = 60_000;
/** Time to receive and install a release. */
const INSTALL_MS = 15 * 60_000;
/** Time for the workers to leave and for the channel to close. */
const STOP_MS = 8_000;

const INSTALLING: ReadonlySet<FromHost['at']> = new Set(['node_wanted', 'wanted', 'installing']);

export interface ChannelCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

export interface ChannelEnd {
  readonly code: number | null;
  /** The last lines of standard error. */
  readonly errors: readonly string[];
  /** The program could not be started. */
  readonly notStarted: NodeJS.ErrnoException | undefined;
  /** Why this side has closed the channel; undefined if it has not. */
  readonly closedFor: string | undefined;
}

/** Ends by itself when the host stays silent. */
export class Channel {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #errors: string[] = [];
  readonly #beat: NodeJS.Timeout;
  #deadline: NodeJS.Timeout | undefined;
  #closedFor: string | undefined;
  #stopping = false;
  /** A supervisor answers; until then it is ssh, the shell of the user or the installer. */
  #supervises = false;
  readonly ended: Promise<ChannelEnd>;

  constructor({ program, args, env }: ChannelCommand, onMessage: (message: FromHost) => void) {
    // In a process group of its own: Ctrl-C in the terminal must not end the channel before the workers have left.
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...env }, detached: true });
    this.#child = child;
    // The end of the process tells more than a broken pipe.
    child.stdin.on('error', () => undefined);
    createInterface({ input: child.stdout }).on('line', (line) => {
      const message = decode(line);
      if (message === undefined) return;
      this.#await(message);
      onMessage(message);
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      this.#errors.push(line);
      if (this.#errors.length > TAIL_LINES) this.#errors.shift();
    });
    this.#beat = setInterval(() => this.send({ do: 'beat' }), BEAT_MS).unref();
    this.#giveTime(ANSWER_MS, 'it did not answer in time');
    this.ended = this.#end();
  }

  /** Beats begin with the first order: an installer takes every line for its own. */
  send(message: ToHost): void {
    if (message.do === 'beat' && !this.#supervises) return;
    this.write(encode(message));
  }

  write(bytes: string | Buffer): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(bytes);
  }

  /** The last bytes: the other side reads to the end of its input. */
  writeLast(bytes: Buffer): void {
    if (this.#child.stdin.writable) this.#child.stdin.end(bytes);
  }

  /** Lets the workers leave, and then ends. Before there are any, it ends at once. */
  stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    if (!this.#supervises) return this.close('it was stopped');
    this.write(encode({ do: 'stop' }));
    this.#giveTime(STOP_MS, 'it did not stop in time');
  }

  /** Ends at once. The host ends the workers when it sees that. */
  close(why: string): void {
    this.#closedFor ??= why;
    this.#child.kill('SIGKILL');
  }

  /** Each message says how soon the next one must come. */
  #await({ at }: FromHost): void {
    if (at === 'supervising') this.#supervises = true;
    if (this.#stopping) return;
    if (this.#supervises) this.#giveTime(SILENCE_MS, 'nothing came from it for 30 s');
    else this.#giveTime(INSTALLING.has(at) ? INSTALL_MS : ANSWER_MS, 'it took too long to install what was sent');
  }

  #giveTime(ms: number, why: string): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.close(why), ms);
  }

  async #end(): Promise<ChannelEnd> {
    const child = this.#child;
    let notStarted: NodeJS.ErrnoException | undefined;
    const code = await new Promise<number | null>((resolve) => {
      child.on('error', (error) => {
        notStarted ??= error;
        if (child.pid === undefined) resolve(null);
      });
      child.once('close', resolve);
      child.once('exit', (exitCode) => setTimeout(() => resolve(exitCode), REST_MS).unref());
    });
    clearInterval(this.#beat);
    clearTimeout(this.#deadline);
    child.stdout.destroy();
    child.stderr.destroy();
    child.stdin.destroy();
    return { code, errors: this.#errors, notStarted, closedFor: this.#closedFor };
  }
}
