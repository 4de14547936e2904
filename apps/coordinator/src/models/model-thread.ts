/** The thread behind model-maker.ts: reads the best checkpoint of a folder and makes one file of it. */
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { readCheckpoint } from '@troupe/checkpoint/node';
import { installationAt } from '@troupe/config/installation';
import { modelFile, readPlayer } from '@troupe/export/node';
import type { Making, MakingReply } from './model-maker.js';

const { folder, form } = workerData as Making;
const port = parentPort!;

try {
  // On Linux this is the priority of the thread alone: training goes first.
  os.setPriority(10);
} catch {
  // If the host refuses, the thread runs at equal priority.
}

const player = () =>
  readPlayer(fileURLToPath(new URL('../../../player/dist', import.meta.url)), installationAt(import.meta.url).restore);

async function make(): Promise<MakingReply> {
  try {
    const { checkpoint } = await readCheckpoint(folder, { prefer: 'best' });
    return { ok: true, file: await modelFile(form, checkpoint, player) };
  } catch (error) {
    const { code = 'internal', message, remedy = '' } = error as Error & { code?: string; remedy?: string };
    return { ok: false, code, message, remedy };
  }
}

port.postMessage(await make());
