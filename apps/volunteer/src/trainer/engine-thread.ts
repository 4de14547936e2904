/** The script of an engine thread; see thread.ts. */
import { serveEngine, type ThreadOrder, type ThreadReply } from '@troupe/model/threads';
import { createWasmEngine } from '@troupe/model/wasm';
import { workerScope } from './scope.js';

const scope = workerScope<ThreadOrder, ThreadReply>();
const given = scope.name === '' ? undefined : scope.name;

serveEngine(
  {
    post: (reply) => scope.postMessage(reply),
    onOrder(handler) {
      scope.onmessage = ({ data }) => handler(data);
    },
  },
  (config, limits, variant = given) =>
    createWasmEngine(config, limits, variant === undefined ? { now: () => performance.now() } : { variant }),
);
