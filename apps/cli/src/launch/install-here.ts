/** Installs a release into a folder of this machine, with the installer that hosts get. */
import { Channel } from './channel.js';
import { compiled, type ReleaseBytes } from './release-bytes.js';
import { explainFault, type HostTrouble } from './ssh.js';
import { encode } from './wire.js';

export interface LocalInstall {
  /** The folder of all releases. */
  readonly cache: string;
  /** The module of the release that is to run later, relative to the release. */
  readonly entry: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onState: (state: 'copying' | 'installing') => void;
  readonly signal: AbortSignal;
}

/** @returns the module that is to run, or why there is none. @throws the reason of `signal` when it aborts */
export async function installHere(
  { sha256, bytes }: ReleaseBytes,
  { cache, entry, env, onState, signal }: LocalInstall,
): Promise<{ readonly module: string } | HostTrouble> {
  signal.throwIfAborted();
  let result: { readonly module: string } | HostTrouble | undefined;
  const command = { program: process.execPath, args: [compiled('installer')], env };
  const channel: Channel = new Channel(command, (message) => {
    if (message.at === 'wanted') {
      onState('copying');
      channel.write(bytes);
    }
    if (message.at === 'installing') onState('installing');
    if (message.at === 'installed') result = { module: message.module };
    if (message.at === 'failed') result = explainFault(message.code, message.detail, { node: undefined, where: undefined });
  });
  const stop = (): void => channel.stop();
  signal.addEventListener('abort', stop, { once: true });
  channel.write(encode({ sha256, bytes: bytes.length, entry, cache, only: true }));
  const { errors } = await channel.ended;
  signal.removeEventListener('abort', stop);
  signal.throwIfAborted();
  return (
    result ?? explainFault('cannot_install', errors.at(-1) ?? 'the installer says nothing', { node: undefined, where: undefined })
  );
}
