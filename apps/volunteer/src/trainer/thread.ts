import type { EngineThread, ThreadReply } from '@troupe/model/threads';

/** Opens an engine thread, a Web Worker of the trainer. @param variant of the kernels; undefined: the first thread measures them */
export function openEngineThread(variant: string | undefined): EngineThread {
  // The name is the only thing that a Web Worker receives before its first message.
  const worker = new Worker(new URL('./engine-thread.js', import.meta.url), { type: 'module', name: variant ?? '' });
  let terminated = false;
  return {
    post: (order) => worker.postMessage(order),
    onReply: (handler) => worker.addEventListener('message', ({ data }: MessageEvent<ThreadReply>) => handler(data)),
    onEnd(handler) {
      const report = (why: string): void => {
        if (!terminated) handler(new Error(why));
      };
      worker.addEventListener('error', ({ message }) => report(message || 'its script did not load'));
      worker.addEventListener('messageerror', () => report('one of its messages could not be read'));
    },
    terminate() {
      terminated = true;
      worker.terminate();
    },
  };
}
