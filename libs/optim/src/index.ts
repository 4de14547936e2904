export { type OptimizerConfig, type OptimizerState, type ScheduleConfig } from './config.js';
