export { parseOptions, UsageError, type Parsed } from './options.js';
