/** `troupe allreduce`: the star service in its own process. */
import { setMaxListeners } from 'node:events';
import { runApp } from '@troupe/process';
import { runAllreduce } from './app.js';

// Every link listens to the same signal: many listeners are not a leak.
setMaxListeners(0);

const missing = (lines: number): string => JSON.stringify({ event: 'missing', lines });

// Asked to stop while its output is paused: the rest of the output is dropped.
// eslint-disable-next-line no-restricted-syntax
if (!(await runApp(process, missing, runAllreduce))) process.exit();
