import type { EngineThread, ThreadReply } from '@troupe/model/threads';

/** An engine thread: a Web Worker of the trainer. `variant`: the one to take; undefined: the first thread measures. */
export function openEngineThread(variant: string | undefined): EngineThread {
  // A name is all that a worker is given before its first message.
  const worker = new Worker(new URL('./engine-thread.js', import.meta.url), { type: 'module', name: variant ?? '' });
  let terminated = false;
  return {
    post: (order) => worker.postMessage(order),
    onReply: (handler) => worker.addEventListener('message', ({ data }: MessageEvent<ThreadReply>) => handler(data)),
    onEnd(handler) {
      const tell = (why: string): void => {
        if (!terminated) handler(new Error(why));
      };
      worker.addEventListener('error', ({ message }) => tell(message || 'its script did not load'));
      worker.addEventListener('messageerror', () => tell('one of its messages could not be read'));
    },
    terminate() {
      terminated = true;
      worker.terminate();
    },
  };
}
