/** The process that supervises on a host: standard input and output are the channel of the launcher. */
import { availableParallelism } from 'node:os';
import { stopRequest } from '@troupe/process';
import { appPaths } from '../shell.js';
import { supervise } from './supervisor.js';
import { MARK } from './wire.js';

const stop = stopRequest(process);
// Output that nobody reads means that the channel is closed.
process.stdout.on('error', () => stop.abort());
await supervise({
  orders: process.stdin,
  say: (message) => process.stdout.write(`${MARK}${JSON.stringify(message)}\n`),
  worker: appPaths().worker,
  env: process.env,
  cores: availableParallelism(),
  now: () => performance.now(),
  random: Math.random,
  signal: stop.signal,
});
