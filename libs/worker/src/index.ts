export { createDeadlines } from './deadlines.js';
export { WorkerRefused } from './errors.js';
export { type EngineConstraints, type WorkerEnd, type WorkerLog, type WorkerOptions, type WorkerPorts } from './ports.js';
export { createRateLimit, type RateLimit } from './rate-limit.js';
export { runWorker } from './run-worker.js';
