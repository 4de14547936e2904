export { type EngineWishes, type WorkerLog, type WorkerPorts } from './ports.js';
export { runWorker } from './run-worker.js';
export { WorkerRefused, type SessionOptions as WorkerOptions } from './session.js';
