/**
 * The lock of a slot on its host: a local socket that its holder listens on. The system frees it when the holder ends, however it
 * ends, and others can ask through it who holds it.
 */
import { createHash } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Time for a holder to answer, and for one of the same launch to end. */
const ANSWER_MS = 2_000;
const LEAVE_MS = 10_000;
const RETRY_MS = 50;

export interface SlotLock {
  release(): void;
}

export interface Claimant {
  /** The secret name of the launch. */
  readonly launch: string;
  /** For other launches: "troupe launch on HOST, process PID". */
  readonly by: string;
  /** A later link of the same launch takes the slot over. */
  readonly onTakenOver: () => void;
}

/**
 * Takes the lock of a slot of a coordinator. A holder of the same launch, whose link is lost, makes way.
 * @returns who holds it, if another launch does
 */
export async function lockSlot(
  address: string,
  slot: string,
  claimant: Claimant,
  signal: AbortSignal,
): Promise<SlotLock | { readonly heldBy: string }> {
  const place = placeOf(`${address} ${slot}`);
  for (let waitedMs = 0; ; waitedMs += RETRY_MS) {
    signal.throwIfAborted();
    const lock = await listen(place, claimant);
    if (lock !== undefined) return lock;
    const answer = await ask(place, claimant.launch);
    if (answer === undefined) await clear(place);
    else if (answer !== 'leaving' || waitedMs >= LEAVE_MS) return { heldBy: answer === 'leaving' ? claimant.by : answer };
    await sleep(RETRY_MS, undefined, { signal });
  }
}

/** Linux and Windows have sockets without files, which the system removes with their process. */
function placeOf(key: string): string {
  const name = `troupe-${process.getuid?.() ?? ''}-${createHash('sha256').update(key).digest('hex').slice(0, 24)}`;
  if (process.platform === 'linux') return `\0${name}`;
  return process.platform === 'win32' ? `\\\\?\\pipe\\${name}` : path.join(os.tmpdir(), `${name}.sock`);
}

/** @returns undefined if somebody has the place, dead or alive */
function listen(place: string, { launch, by, onTakenOver }: Claimant): Promise<SlotLock | undefined> {
  const links = new Set<net.Socket>();
  const server = net.createServer((link) => {
    links.add(link);
    link.setTimeout(ANSWER_MS, () => link.destroy());
    // Who asks and leaves is no concern of the holder.
    link.on('error', () => undefined).on('close', () => links.delete(link));
    link.once('data', (asked) => {
      const isSame = asked.toString() === `${launch}\n`;
      link.end(isSame ? 'leaving' : by);
      if (isSame) onTakenOver();
    });
  });
  const release = (): void => {
    server.close();
    for (const link of links) link.destroy();
  };
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => (error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error)));
    server.listen(place, () => resolve({ release }));
  });
}

/** What the holder says; undefined if there is none that lives. */
function ask(place: string, launch: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let answer = '';
    const link = net.connect(place, () => link.write(`${launch}\n`));
    link.setTimeout(ANSWER_MS, () => link.destroy());
    link.on('data', (text) => (answer += text.toString()));
    link.on('error', () => undefined);
    link.on('close', () => resolve(answer === '' ? undefined : answer));
  });
}

/** Removes the file of a holder that was killed. */
async function clear(place: string): Promise<void> {
  if (!place.endsWith('.sock')) return;
  // Another claimant may have removed it.
  await unlink(place).catch(() => undefined);
}
