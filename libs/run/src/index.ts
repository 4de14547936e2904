export { type RunEvent } from './events.js';
export { RUN_OPTIONS, type RunOption } from './options.js';
