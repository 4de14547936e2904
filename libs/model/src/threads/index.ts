export { createThreadedEngine, type ThreadedEngineOptions } from './engine.js';
export { serveEngine, type CreateThreadEngine } from './serve.js';
export type { EngineThread, ThreadOrder, ThreadOwner, ThreadReply } from './port.js';
