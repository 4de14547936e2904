import { Worker } from 'node:worker_threads';
import type { EngineThread, ThreadReply } from '@troupe/model/threads';
import type { CpuEngineName } from './cpu.js';

/** What an engine thread receives when it starts. */
export interface ThreadData {
  readonly engine: CpuEngineName;
  /** Whether the first thread measures which variant is fastest; the others take the same one. */
  readonly measured: boolean;
  /** The variant to take; undefined: the engine's choice. */
  readonly variant?: string | undefined;
}

/** The compiled script of a thread. */
const SCRIPT = new URL('./engine-thread.js', import.meta.url);

/** An engine thread of Node. `script` stands in for the compiled one. */
export function openNodeThread(workerData: ThreadData, script: URL = SCRIPT): EngineThread {
  const worker = new Worker(script, { workerData });
  let terminated = false;
  return {
    post: (order) => worker.postMessage(order),
    onReply: (handler) => void worker.on('message', (reply: ThreadReply) => handler(reply)),
    onEnd(handler) {
      const tell = (reason: Error): void => {
        if (!terminated) handler(reason);
      };
      worker.on('error', tell);
      worker.on('messageerror', tell);
      worker.on('exit', (code) => tell(new Error(`it ended with code ${code}`)));
    },
    terminate() {
      terminated = true;
      // An error without a listener would end the process.
      worker.on('error', () => {});
      void worker.terminate();
    },
  };
}
